"""The fast path from a server that speaks HTTP/1: whole chunks go on as they were read."""

from __future__ import annotations

from mitmproxy.proxy import events
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import ResponseData

from ..fixes import http1 as fixes
from .passthrough import ResponseForwarder, find_forwarder, is_between_chunks, leading_chunks, whole_chunks
from .sockets import open_bypass


class ResponsePieces(ResponseData):
    """Pieces of a response's body that were read at once; each is sent on as a chunk of its own."""

    def __init__(self, stream_id: int, pieces: list[bytes]) -> None:
        super().__init__(stream_id, b"".join(pieces))
        self.pieces = pieces


class HttpStream(fixes.HttpStream):
    """Sends pieces that were read at once in one write."""

    def state_stream_response_body(self, event: HttpEvent) -> CommandGenerator[None]:
        if not isinstance(event, ResponsePieces):
            yield from super().state_stream_response_body(event)
            return
        forwarder = find_forwarder(self.context, self.stream_id)
        if forwarder is not None and forwarder.is_open:
            yield from forwarder.send(forwarder.forward(event.pieces))
            return
        for piece in event.pieces:
            yield from super().state_stream_response_body(ResponseData(self.stream_id, piece))


class Http1Client(fixes.Http1Client):
    """Takes whole chunks out of the bytes that come, and leaves all else to mitmproxy."""

    _forwarder: ResponseForwarder | None = None

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if type(event) is events.DataReceived and self.state == self.read_body:
            self._find_forwarder()
            data = self.take(event.data)
            if data is not None and self._forwarder is not None:
                return self._forwarder.send(data)
        return super()._handle_event(event)

    def _find_forwarder(self) -> None:
        if self._forwarder is None and self.stream_id is not None:
            self._forwarder = find_forwarder(self.context, self.stream_id)
            if self._forwarder is not None:
                open_bypass(self.context, self.conn, self.take)

    def take(self, data: bytes) -> bytes | None:
        """Return what the client is to be sent of chunks that have come; None where mitmproxy has more to do."""
        forwarder = self._forwarder
        if forwarder is None or self.buf or not self._is_between_chunks():
            return None
        bodies = whole_chunks(data) if forwarder.is_open else None
        return None if bodies is None else forwarder.forward(bodies)

    def read_body(self, event: events.Event) -> CommandGenerator[None]:
        """h11 returns chunk by chunk, and mitmproxy would write them one by one."""
        self.keep_trailers()
        if self.stream_id is not None and self._is_between_chunks():
            pieces, size = leading_chunks(bytes(self.buf))
            if pieces:
                self.buf.maybe_extract_at_most(size)
                yield ReceiveHttp(ResponsePieces(self.stream_id, pieces))
        yield from super().read_body(event)

    def mark_done(self, *, request: bool = False, response: bool = False) -> CommandGenerator[None]:
        if response:
            self._forwarder = None
        yield from super().mark_done(request=request, response=response)

    def _is_between_chunks(self) -> bool:
        reader = getattr(self, "body_reader", None)
        return type(reader) is fixes.TrailerReader and is_between_chunks(reader.reader)
