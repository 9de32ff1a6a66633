"""The fast path from a server that speaks HTTP/2: plain DATA frames go on as they were read."""

from __future__ import annotations

import time

import h2.events
from mitmproxy.proxy import events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import _http2

from ..fixes import http2 as fixes
from .passthrough import ResponseForwarder, count_received, data_frames, find_forwarder
from .sockets import open_bypass


class Http2Client(fixes.Http2Client):
    """Takes plain DATA frames out of the bytes that come, and leaves all else to mitmproxy."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._forwarders: dict[int, ResponseForwarder] = {}

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if type(event) is events.DataReceived and (data := self.take(event.data)) is not None:
            open_bypass(self.context, self.conn, self.take)
            return next(iter(self._forwarders.values())).send(data)
        return super()._handle_event(event)

    def take(self, data: bytes) -> bytes | None:
        """Return what the client is to be sent of frames that have come; None where mitmproxy has more to do."""
        frames = data_frames(self.h2_conn, data)
        if not frames:
            return None
        forwarders = [self._open_forwarder(stream_id) for stream_id, _ in frames]
        if not all(forwarders) or not count_received(self.h2_conn, frames):
            return None
        self.last_activity = time.time()
        pairs = zip(frames, forwarders, strict=True)
        return b"".join([forwarder.forward((body,)) for (_, body), forwarder in pairs if forwarder is not None])

    def _open_forwarder(self, stream_id: int) -> ResponseForwarder | None:
        forwarder = self._forwarders.get(stream_id)
        if forwarder is None and self.streams.get(stream_id) is _http2.StreamState.HEADERS_RECEIVED:
            forwarder = find_forwarder(self.context, self.their_stream_id[stream_id])
            if forwarder is not None:
                self._forwarders[stream_id] = forwarder
        return forwarder if forwarder is not None and forwarder.is_open else None

    def handle_h2_event(self, event: h2.events.Event) -> CommandGenerator[bool]:
        if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            self._forwarders.pop(event.stream_id, None)
        return (yield from super().handle_h2_event(event))
