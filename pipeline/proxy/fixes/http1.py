"""Corrects how mitmproxy speaks HTTP/1, and how one exchange waits for its two sides."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from h11 import EndOfMessage
from h11._readers import ChunkedReader
from mitmproxy import http
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

from .http2 import received

# An informational response (RFC 9110, section 15.2). 101 is none of them here: another protocol is spoken after it.
_INTERIM_HEAD = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d[ \r\n]")
_SWITCHING_PROTOCOLS = 101
_LAST_CHUNK = b"0\r\n\r\n"


class HttpStream(layers.HttpStream):
    """One exchange: passes informational responses on, and lets neither side wait for the other.

    Informational responses: mitmproxy #2229. No upstream issue is known for the waiting.
    """

    _connect_failure: ResponseProtocolError | None = None
    _is_answered_early = False

    def state_wait_for_response_headers(self, event: HttpEvent) -> CommandGenerator[None]:
        """mitmproxy takes `103 Early Hints` for the response, and never sends the client the response after it."""
        if isinstance(event, ResponseHeaders) and _is_interim(event.response):
            yield SendHttp(event, self.context.client)
        else:
            yield from super().state_wait_for_response_headers(event)

    def start_request_stream(self) -> CommandGenerator[None]:
        """mitmproxy sends 502 and hangs up while the client still sends, and the client may never read the 502."""
        yield from super().start_request_stream()
        if self._connect_failure is not None:
            self.client_state = self.state_discard_request_body

    def state_discard_request_body(self, event: HttpEvent) -> CommandGenerator[None]:
        """Record the rest of a request that no server gets, then send the client the error."""
        if isinstance(event, RequestData) and callable(self.flow.request.stream):
            self.flow.request.stream(event.data)
        elif isinstance(event, RequestEndOfMessage) and self._connect_failure is not None:
            self.client_state = self.state_done
            yield from super().handle_protocol_error(self._connect_failure)

    def send_response(self, already_streamed: bool = False) -> CommandGenerator[None]:
        """mitmproxy keeps the end of a response back until the request has ended; the request may wait for that end."""
        yield from super().send_response(already_streamed)
        is_early = self.server_state == self.state_done and self.client_state == self.state_stream_request_body
        if is_early and self.flow.response is not None and self.flow.response.status_code != _SWITCHING_PROTOCOLS:
            self._is_answered_early = True
            yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def flow_done(self) -> CommandGenerator[None]:
        if not self._is_answered_early:
            yield from super().flow_done()
            return
        for command in super().flow_done():
            if not (isinstance(command, SendHttp) and isinstance(command.event, ResponseEndOfMessage)):
                yield command

    def handle_protocol_error(self, event: RequestProtocolError | ResponseProtocolError) -> CommandGenerator[None]:
        is_before_body = self.client_state == self.state_wait_for_request_headers
        if is_before_body and isinstance(event, ResponseProtocolError) and event.code is ErrorCode.CONNECT_FAILED:
            self._connect_failure = event
            return
        if self._is_answered_early and isinstance(event, RequestProtocolError):
            # The rest of the request will not come. mitmproxy would tell neither the server nor an addon.
            yield SendHttp(event, self.context.server)
            self.flow.error = Error(event.message)
            yield HttpErrorHook(self.flow)
        yield from super().handle_protocol_error(event)


class TrailerReader:
    """Reads a chunked body by h11's reader, and keeps the trailers at its end, which mitmproxy refuses to see."""

    def __init__(self, reader: ChunkedReader) -> None:
        self.reader = reader
        self._trailers: http.Headers | None = None

    def __call__(self, buffer: Any) -> Any:
        event = self.reader(buffer)
        if isinstance(event, EndOfMessage) and event.headers:
            self._trailers = http.Headers(event.headers.raw_items())
            return EndOfMessage()
        return event

    def read_eof(self) -> Any:
        return self.reader.read_eof()

    def take(self) -> http.Headers | None:
        """Return the trailers, once; None where there are none."""
        trailers, self._trailers = self._trailers, None
        return trailers


class _Http1Trailers(_http1.Http1Connection):
    """Receives and sends trailers: mitmproxy #2474.

    mitmproxy meets both with an exception, after which the connection stands still.
    """

    ReceiveTrailers: type[RequestTrailers | ResponseTrailers]
    body_reader: Any
    _unsent: http.Headers | None = None

    def keep_trailers(self) -> None:
        """Put a reader that keeps trailers in the place of h11's."""
        if isinstance(self.body_reader, ChunkedReader):
            self.body_reader = TrailerReader(self.body_reader)

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
        """Bytes in a tunnel have no head, chunks or trailers to look for."""
        if data:
            yield commands.SendData(self.conn, data)

    def send(self, event: HttpEvent) -> CommandGenerator[None]:
        yield from super().send(event)
        if isinstance(event, ResponseHeaders) and _is_interim(event.response):
            self.response = None  # mitmproxy sends a client an error only as long as it has no response


class Http1Client(_Http1Trailers, _http1.Http1Client):
    """The side of a server that speaks HTTP/1.

    Informational responses: mitmproxy #2229. No upstream issue is known for requests without framing.
    """

    ReceiveTrailers = ResponseTrailers

    def send(self, event: HttpEvent) -> CommandGenerator[None]:
        if isinstance(event, RequestHeaders) and not event.end_stream and _has_no_framing(event.request):
            # HTTP/2 needs none; mitmproxy would send HTTP/1 a body without an end that a server can find.
            event.request.headers["Transfer-Encoding"] = "chunked"
        yield from super().send(event)

    def read_headers(self, event: events.ConnectionEvent) -> CommandGenerator[None]:
        while self.stream_id is not None and _INTERIM_HEAD.match(bytes(self.buf)):
            lines = self.buf.maybe_extract_lines()
            if lines is None:
                break
            with suppress(ValueError):  # a head that cannot be read has nothing for a client
                head = http1.read_response_head([bytes(line) for line in lines])
                yield ReceiveHttp(ResponseHeaders(self.stream_id, head))
        yield from super().read_headers(event)


def _kept_trailers(reader: Any) -> http.Headers | None:
    return reader.take() if isinstance(reader, TrailerReader) else None


def _has_no_framing(request: http.Request) -> bool:
    return not {"content-length", "transfer-encoding"} & {name.lower() for name in request.headers}


def _is_interim(response: http.Response) -> bool:
    return 100 <= response.status_code < 200 and response.status_code != _SWITCHING_PROTOCOLS
