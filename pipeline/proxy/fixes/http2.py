"""Mends the sides of mitmproxy that speak HTTP/2, and its choice of a connection: see `mends.py`."""

from __future__ import annotations

import time
from typing import Any
from weakref import WeakSet

import h2.events
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame
from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers import http as layers
from mitmproxy.proxy.layers.http import _http2
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestProtocolError,
    RequestTrailers,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)

from ..fast_path.passthrough import ResponseForwarder, count_received, data_frames, find_forwarder
from ..fast_path.sockets import open_bypass

# Connections to servers that will close them when their last answer is given.
_LEAVING: WeakSet[Connection] = WeakSet()


class _Http2Side(_http2.Http2Connection):
    """Says which side reset a stream: of a server, too, mitmproxy says that it was the client."""

    side: str

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, RequestTrailers | ResponseTrailers):
            # Those of HTTP/1 may have upper-case letters, which HTTP/2 forbids.
            event.trailers = http.Headers([(name.lower(), value) for name, value in event.trailers.fields])
        return super()._handle_event(event)

    def handle_h2_event(self, event: h2.events.Event) -> CommandGenerator[bool]:
        if not isinstance(event, h2.events.StreamReset):
            return (yield from super().handle_h2_event(event))
        for command in super().handle_h2_event(event):
            if isinstance(error := received(command), RequestProtocolError | ResponseProtocolError):
                error.message = error.message.replace("by client", f"by the {self.side}")
            yield command
        return False


class Http2Server(_Http2Side, _http2.Http2Server):
    """The side of a client that speaks HTTP/2."""

    side = "client"


class _GoingAway(h2.events.Event):
    """The server takes no more requests on a connection, and answers those up to `last_stream_id`."""

    def __init__(self, last_stream_id: int) -> None:
        self.last_stream_id = last_stream_id


class Http2Client(_Http2Side, _http2.Http2Client):
    """The side of a server that speaks HTTP/2; it passes on what a server says before it answers or leaves."""

    side = "server"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        readers = self.h2_conn._frame_dispatch_table
        self._read_goaway = readers[GoAwayFrame]
        readers[GoAwayFrame] = self._receive_goaway
        self._ways: dict[int, ResponseForwarder] = {}

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if type(event) is events.DataReceived and (answer := self.take(event.data)) is not None:
            open_bypass(self.context, self.conn, self.take)
            return next(iter(self._ways.values())).send(answer)
        return super()._handle_event(event)

    def take(self, data: bytes) -> bytes | None:
        """What the client is to be sent of frames that have come; None where mitmproxy has more to do with them."""
        frames = data_frames(self.h2_conn, data)
        if not frames:
            return None
        ways = [self._way(stream_id) for stream_id, _ in frames]
        if not all(ways) or not count_received(self.h2_conn, frames):
            return None
        self.last_activity = time.time()
        return b"".join([way.pass_on((body,)) for (_, body), way in zip(frames, ways, strict=True) if way is not None])

    def _way(self, stream_id: int) -> ResponseForwarder | None:
        way = self._ways.get(stream_id)
        if way is None and self.streams.get(stream_id) is _http2.StreamState.HEADERS_RECEIVED:
            way = find_forwarder(self.context, self.their_stream_id[stream_id])
            if way is not None:
                self._ways[stream_id] = way
        return way if way is not None and way.is_open else None

    def handle_h2_event(self, event: h2.events.Event) -> CommandGenerator[bool]:
        if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            self._ways.pop(event.stream_id, None)
        if isinstance(event, h2.events.InformationalResponseReceived):
            yield self._informational(event)
        elif isinstance(event, _GoingAway):
            yield from self._go_away(event.last_stream_id)
        elif (yield from super().handle_h2_event(event)):
            return True
        if not self.streams and self.conn in _LEAVING:
            yield commands.CloseConnection(self.conn)
        return False

    def _informational(self, event: h2.events.InformationalResponseReceived) -> ReceiveHttp:
        """mitmproxy swallows these."""
        status, headers = _http2.parse_h2_response_headers(event.headers)
        head = http.Response(b"HTTP/2.0", status, b"", headers, None, None, time.time(), None)
        return ReceiveHttp(ResponseHeaders(event.stream_id, head))

    def _receive_goaway(self, frame: GoAwayFrame) -> Any:
        """mitmproxy gives all streams up with the connection, though a server that drains it answers them first."""
        if frame.error_code == ErrorCodes.NO_ERROR:
            return [], [_GoingAway(frame.last_stream_id)]
        return self._read_goaway(frame)

    def _go_away(self, last_stream_id: int) -> CommandGenerator[None]:
        _LEAVING.add(self.conn)
        for stream_id in [stream_id for stream_id in self.streams if stream_id > last_stream_id]:
            del self.streams[stream_id]
            message = "the server takes no more requests on this connection"
            yield ReceiveHttp(ResponseProtocolError(stream_id, message, ErrorCode.GENERIC_SERVER_ERROR))


class GetHttpConnection(layers.GetHttpConnection):
    """Asks for a connection that takes one more request."""

    def connection_spec_matches(self, connection: Connection) -> bool:
        return connection not in _LEAVING and super().connection_spec_matches(connection)


def received(command: commands.Command) -> HttpEvent | None:
    """The event of a command that brings one."""
    return command.event if isinstance(command, ReceiveHttp) else None
