"""Mends mitmproxy's HTTP layers where they stop, cut or hide what passes: traffic that runs through them hangs or loses
something that it would not lose without a proxy.

Each class stands in the place of the one it derives from and leaves all but its own matter to it. What is not mended
here is told in the README, under "What a proxy changes".
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from h11 import EndOfMessage
from h11._readers import ChunkedReader
from mitmproxy import http
from mitmproxy.addonmanager import AddonManager
from mitmproxy.flow import Error
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers import http as layers
from mitmproxy.proxy.layers.http import SendHttp, _http1
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook
from mitmproxy.proxy.server import ConnectionHandler

from tapeline.addons.tapeline_recorder.capture import SILENT

from ..fast_path.passthrough import (
    IS_KNOWN,
    ResponseForwarder,
    ResponsePieces,
    drain_full_writers,
    find_forwarder,
    is_between_chunks,
    leading_chunks,
    trigger_concerned,
    whole_chunks,
)
from ..fast_path.sockets import install_socket_readers, open_bypass
from .http2 import GetHttpConnection, Http2Client, Http2Server, received

# An informational answer (RFC 9110, section 15.2) but for 101, after which another protocol is spoken.
_INTERIM_HEAD = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d[ \r\n]")
_SWITCHING_PROTOCOLS = 101
_LAST_CHUNK = b"0\r\n\r\n"
_on_timeout = ConnectionHandler.on_timeout


def mend() -> None:
    """Put the mended classes in their places, for all connections that this process opens from now on."""
    for mended in (HttpStream, Http1Server, Http1Client, Http2Server, Http2Client, GetHttpConnection):
        setattr(layers, mended.__name__, mended)
    ConnectionHandler.on_timeout = _give_up  # type: ignore[method-assign,assignment]
    if IS_KNOWN:
        ConnectionHandler.drain_writers = drain_full_writers  # type: ignore[method-assign]
        AddonManager.trigger_event = trigger_concerned  # type: ignore[method-assign,assignment]
        install_socket_readers()


async def _give_up(handler: ConnectionHandler) -> None:
    """Of a connection that is silent for too long mitmproxy says that the client closed it."""
    handler.client.error = SILENT
    await _on_timeout(handler)


class HttpStream(layers.HttpStream):
    """Passes informational answers on, and lets neither side of an exchange wait for the other."""

    _failure: ResponseProtocolError | None = None
    _is_answered = False

    def state_wait_for_response_headers(self, event: HttpEvent) -> CommandGenerator[None]:
        """mitmproxy takes `103 Early Hints` for the answer, and never gives the client the one that follows."""
        if isinstance(event, ResponseHeaders) and _is_interim(event.response):
            yield SendHttp(event, self.context.client)
        else:
            yield from super().state_wait_for_response_headers(event)

    def state_stream_response_body(self, event: HttpEvent) -> CommandGenerator[None]:
        if not isinstance(event, ResponsePieces):
            yield from super().state_stream_response_body(event)
            return
        way = find_forwarder(self.context, self.stream_id)
        if way is not None and way.is_open:
            yield from way.send(way.pass_on(event.pieces))
            return
        for piece in event.pieces:
            yield from super().state_stream_response_body(ResponseData(self.stream_id, piece))

    def start_request_stream(self) -> CommandGenerator[None]:
        """mitmproxy answers 502 and hangs up while the client still sends, who may then never read the answer."""
        yield from super().start_request_stream()
        if self._failure is not None:
            self.client_state = self.state_read_in_vain

    def state_read_in_vain(self, event: HttpEvent) -> CommandGenerator[None]:
        if isinstance(event, RequestData) and callable(self.flow.request.stream):
            self.flow.request.stream(event.data)
        elif isinstance(event, RequestEndOfMessage) and self._failure is not None:
            self.client_state = self.state_done
            yield from super().handle_protocol_error(self._failure)

    def send_response(self, already_streamed: bool = False) -> CommandGenerator[None]:
        """mitmproxy keeps the end of an answer back until the request has ended, which may be waiting for it."""
        yield from super().send_response(already_streamed)
        is_early = self.server_state == self.state_done and self.client_state == self.state_stream_request_body
        if is_early and self.flow.response is not None and self.flow.response.status_code != _SWITCHING_PROTOCOLS:
            self._is_answered = True
            yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def flow_done(self) -> CommandGenerator[None]:
        if not self._is_answered:
            yield from super().flow_done()
            return
        for command in super().flow_done():
            if not (isinstance(command, SendHttp) and isinstance(command.event, ResponseEndOfMessage)):
                yield command

    def handle_protocol_error(self, event: RequestProtocolError | ResponseProtocolError) -> CommandGenerator[None]:
        is_before_body = self.client_state == self.state_wait_for_request_headers
        if is_before_body and isinstance(event, ResponseProtocolError) and event.code is ErrorCode.CONNECT_FAILED:
            self._failure = event
            return
        if self._is_answered and isinstance(event, RequestProtocolError):
            # Nothing more comes of the request. mitmproxy tells nobody, neither the server nor an addon.
            yield SendHttp(event, self.context.server)
            self.flow.error = Error(event.message)
            yield HttpErrorHook(self.flow)
        yield from super().handle_protocol_error(event)


class _TrailerKeeper:
    """Reads a chunked body, and keeps the trailers at its end, which mitmproxy refuses to see."""

    def __init__(self, reader: ChunkedReader) -> None:
        self._reader = reader
        self._trailers: http.Headers | None = None

    def __call__(self, buffer: Any) -> Any:
        event = self._reader(buffer)
        if isinstance(event, EndOfMessage) and event.headers:
            self._trailers = http.Headers(event.headers.raw_items())
            return EndOfMessage()
        return event

    def read_eof(self) -> Any:
        return self._reader.read_eof()

    @property
    def is_between_chunks(self) -> bool:
        return is_between_chunks(self._reader)

    def take(self) -> http.Headers | None:
        """The trailers, once."""
        trailers, self._trailers = self._trailers, None
        return trailers


def _kept_trailers(reader: Any) -> http.Headers | None:
    return reader.take() if isinstance(reader, _TrailerKeeper) else None


class _Http1Trailers(_http1.Http1Connection):
    """Receives and sends trailers; mitmproxy meets both with an exception, after which the connection stands still."""

    ReceiveTrailers: type[RequestTrailers | ResponseTrailers]
    body_reader: Any
    _unsent: http.Headers | None = None

    def keep_trailers(self) -> None:
        if isinstance(self.body_reader, ChunkedReader):
            self.body_reader = _TrailerKeeper(self.body_reader)

    def read_body(self, event: events.Event) -> CommandGenerator[None]:
        self.keep_trailers()
        reader = self.body_reader
        for command in super().read_body(event):
            end = received(command)
            if isinstance(end, self.ReceiveEndOfMessage) and (trailers := _kept_trailers(reader)):
                yield ReceiveHttp(self.ReceiveTrailers(end.stream_id, trailers))
            yield command

    def send(self, event: HttpEvent) -> CommandGenerator[None]:
        if isinstance(event, RequestTrailers | ResponseTrailers):
            self._unsent = event.trailers
            return
        for command in super().send(event):
            yield self._with_trailers(command) if isinstance(command, commands.SendData) else command
        if isinstance(event, RequestEndOfMessage | ResponseEndOfMessage):
            self._unsent = None  # a body without chunks has no place for them

    def _with_trailers(self, command: commands.SendData) -> commands.SendData:
        if self._unsent is None or command.data != _LAST_CHUNK:
            return command
        trailers, self._unsent = self._unsent, None
        return commands.SendData(command.connection, b"0\r\n%b\r\n" % bytes(trailers))


class Http1Server(_Http1Trailers, _http1.Http1Server):
    """The side of a client that speaks HTTP/1."""

    ReceiveTrailers = RequestTrailers

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if type(event) is ResponseData and self.state == self.passthrough:
            return self._send_through_tunnel(event.data)
        return super()._handle_event(event)

    def _send_through_tunnel(self, data: bytes) -> CommandGenerator[None]:
        """In there nothing has a head, chunks or trailers."""
        if data:
            yield commands.SendData(self.conn, data)

    def send(self, event: HttpEvent) -> CommandGenerator[None]:
        yield from super().send(event)
        if isinstance(event, ResponseHeaders) and _is_interim(event.response):
            self.response = None  # mitmproxy tells a client of an error only as long as it has no answer


class Http1Client(_Http1Trailers, _http1.Http1Client):
    """The side of a server that speaks HTTP/1."""

    ReceiveTrailers = ResponseTrailers
    _way: ResponseForwarder | None = None

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if type(event) is events.DataReceived and self.state == self.read_body:
            if self._way is None and self.stream_id is not None:
                self._way = find_forwarder(self.context, self.stream_id)
                if self._way is not None:
                    open_bypass(self.context, self.conn, self.take)
            answer = self.take(event.data)
            if answer is not None and self._way is not None:
                return self._way.send(answer)
        return super()._handle_event(event)

    def take(self, data: bytes) -> bytes | None:
        """What the client is to be sent of chunks that have come; None where mitmproxy has more to do with them."""
        way, reader = self._way, getattr(self, "body_reader", None)
        if way is None or self.buf or type(reader) is not _TrailerKeeper or not reader.is_between_chunks:
            return None
        bodies = whole_chunks(data) if way.is_open else None
        return None if bodies is None else way.pass_on(bodies)

    def read_body(self, event: events.Event) -> CommandGenerator[None]:
        """h11 gives chunk by chunk, which would be sent on one by one."""
        self.keep_trailers()
        reader = self.body_reader
        if self.stream_id is not None and type(reader) is _TrailerKeeper and reader.is_between_chunks:
            pieces, size = leading_chunks(bytes(self.buf))
            if pieces:
                self.buf.maybe_extract_at_most(size)
                yield ReceiveHttp(ResponsePieces(self.stream_id, pieces))
        yield from super().read_body(event)

    def mark_done(self, *, request: bool = False, response: bool = False) -> CommandGenerator[None]:
        if response:
            self._way = None
        yield from super().mark_done(request=request, response=response)

    def send(self, event: HttpEvent) -> CommandGenerator[None]:
        if isinstance(event, RequestHeaders) and not event.end_stream and _has_no_framing(event.request):
            # HTTP/2 needs none; mitmproxy would send a body whose end nobody can tell.
            event.request.headers["Transfer-Encoding"] = "chunked"
        yield from super().send(event)

    def read_headers(self, event: events.ConnectionEvent) -> CommandGenerator[None]:
        while self.stream_id is not None and _INTERIM_HEAD.match(bytes(self.buf)):
            lines = self.buf.maybe_extract_lines()
            if lines is None:
                break
            with suppress(ValueError):  # one that cannot be read tells a client nothing
                head = http1.read_response_head([bytes(line) for line in lines])
                yield ReceiveHttp(ResponseHeaders(self.stream_id, head))
        yield from super().read_headers(event)


def _has_no_framing(request: http.Request) -> bool:
    return not {"content-length", "transfer-encoding"} & {name.lower() for name in request.headers}


def _is_interim(response: http.Response) -> bool:
    return 100 <= response.status_code < 200 and response.status_code != _SWITCHING_PROTOCOLS
