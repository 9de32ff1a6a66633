"""Corrects how mitmproxy speaks HTTP/2, and how it chooses a connection to a server."""

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

# Connections whose servers close them after the last response.
_LEAVING: WeakSet[Connection] = WeakSet()


class _Http2Side(_http2.Http2Connection):
    """Names the side that reset a stream: mitmproxy blames the client for both. No upstream issue is known."""

    side: str

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, RequestTrailers | ResponseTrailers):
            # HTTP/1 allows upper-case letters in trailers, HTTP/2 forbids them.
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
    """The server takes no more requests on a connection, and responds to those up to `last_stream_id`."""

    def __init__(self, last_stream_id: int) -> None:
        self.last_stream_id = last_stream_id


class Http2Client(_Http2Side, _http2.Http2Client):
    """The side of a server that speaks HTTP/2: passes informational responses on, and lets a server drain a connection.

    Informational responses: mitmproxy #2229. Draining: h2 #1181, which closes its state machine on GOAWAY.
    """

    side = "server"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        readers = self.h2_conn._frame_dispatch_table
        self._read_goaway = readers[GoAwayFrame]
        readers[GoAwayFrame] = self._receive_goaway

    def handle_h2_event(self, event: h2.events.Event) -> CommandGenerator[bool]:
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
        """mitmproxy drops informational responses of HTTP/2."""
        status, headers = _http2.parse_h2_response_headers(event.headers)
        head = http.Response(b"HTTP/2.0", status, b"", headers, None, None, time.time(), None)
        return ReceiveHttp(ResponseHeaders(event.stream_id, head))

    def _receive_goaway(self, frame: GoAwayFrame) -> Any:
        """mitmproxy ends all streams at once, though a server that drains the connection responds to them first."""
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
    """Asks for a connection that takes one more request: one that is drained takes none."""

    def connection_spec_matches(self, connection: Connection) -> bool:
        return connection not in _LEAVING and super().connection_spec_matches(connection)


def received(command: commands.Command) -> HttpEvent | None:
    """Return the event of a command that carries one."""
    return command.event if isinstance(command, ReceiveHttp) else None
