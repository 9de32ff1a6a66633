"""The short way of a streamed answer through mitmproxy: from the server's side to the client's, past what lies between.

Of an answer that streams, a piece of the body is given to the stream callable and written to the client, and nothing
else. mitmproxy takes it through a dozen generators to do that, which is most of what a streamed event costs. All that
is no such piece, and pieces that come while somebody is asked or the client is gone, take mitmproxy's own way.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Callable, Iterable
from importlib.metadata import version

import h2.connection
import h2.stream
from h2.windows import WindowManager
from h11._readers import ChunkedReader
from mitmproxy import hooks
from mitmproxy.addonmanager import AddonManager, safecall
from mitmproxy.connection import Connection
from mitmproxy.exceptions import AddonHalt
from mitmproxy.proxy import commands
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers import http as layers
from mitmproxy.proxy.layers.http import _http1, _http2, _http_h2
from mitmproxy.proxy.layers.http._events import ResponseData
from mitmproxy.proxy.server import ConnectionHandler

# The releases whose insides this reaches into; with others every piece takes mitmproxy's own way.
WRITTEN_FOR = {"mitmproxy": "12.2.", "h2": "4.", "h11": "0.16."}
IS_KNOWN = all(version(name).startswith(release) for name, release in WRITTEN_FOR.items())

_CHUNK_HEAD = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")
_END_OF_LINE = b"\r\n"
_FRAME_HEAD = struct.Struct(">IBI")
_DATA = 0
_SENDING = (h2.stream.StreamState.OPEN, h2.stream.StreamState.HALF_CLOSED_REMOTE)
_RECEIVING = (h2.stream.StreamState.OPEN, h2.stream.StreamState.HALF_CLOSED_LOCAL)
_drain_writers = ConnectionHandler.drain_writers


async def drain_full_writers(handler: ConnectionHandler) -> None:
    """mitmproxy waits for each writer of a client's connections after each read; hardly ever one has no room."""
    if any(io.writer is not None and not has_room(io.writer) for io in handler.transports.values()):
        await _drain_writers(handler)


def has_room(writer: object) -> bool:
    """Whether what is written now goes out now."""
    if not isinstance(writer, asyncio.StreamWriter) or writer.transport.is_closing():
        return False
    protocol = getattr(writer, "_protocol", None)
    return getattr(protocol, "_paused", True) is False


async def trigger_concerned(manager: AddonManager, event: hooks.Hook) -> None:
    """mitmproxy makes ready to call each addon, at each of the eight events of an exchange; most know nothing of it."""
    for addon in manager.chain:
        if hasattr(addon, event.name) or hasattr(addon, "addons"):
            try:
                with safecall():
                    await manager.invoke_addon(addon, event)
            except AddonHalt:
                return


class ResponseForwarder:
    """Where pieces of one answer go."""

    def __init__(self, hub: layers.HttpLayer, stream: layers.HttpStream) -> None:
        self._hub = hub
        self._stream = stream
        self._client: Connection = hub.context.client
        self._side = hub.connections[self._client]
        response = stream.flow.response
        assert response is not None
        self._is_kept = bool(stream.context.options.store_streamed_bodies)
        self._is_chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
        stream_callable = response.stream
        self._pieces: Callable[[bytes], Iterable[bytes] | bytes] | None = (
            stream_callable if callable(stream_callable) else None
        )

    @property
    def is_open(self) -> bool:
        """Whether a piece that comes now would be written at once."""
        stream = self._stream
        return (
            stream._paused is None
            and self._side._paused is None
            and stream.server_state == stream.state_stream_response_body
            and not self._is_kept
        )

    def pass_on(self, pieces: Iterable[bytes]) -> bytes:
        """Give pieces to the stream callable; gives what is to be written to the client."""
        if self._pieces is not None:
            pieces = [part for piece in pieces for part in _parts(self._pieces(piece))]
        side = self._side
        if not isinstance(side, _http2.Http2Connection):
            return b"".join(map(self._framed, pieces))
        for piece in pieces:
            if side.is_open_for_us(self._stream.stream_id):
                send_data(side.h2_conn, self._stream.stream_id, piece)
        return side.h2_conn.data_to_send() or b""

    def send(self, data: bytes) -> CommandGenerator[None]:
        """Write what `pass_on` has given."""
        if data:
            yield commands.SendData(self._client, data)

    def _framed(self, piece: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self._is_chunked else piece


def _parts(given: bytes | Iterable[bytes]) -> Iterable[bytes]:
    """What a stream callable gives: a piece, or several."""
    return (given,) if isinstance(given, bytes) else given


def data_frames(connection: h2.connection.H2Connection, data: bytes) -> list[tuple[int, bytes]] | None:
    """Streams and bodies, where the data is nothing but whole DATA frames that end no stream."""
    if not IS_KNOWN:
        return None
    buffer = connection.incoming_buffer
    if buffer._data or buffer._headers_buffer:
        return None
    frames, start = [], 0
    while start < len(data):
        if len(data) < start + _FRAME_HEAD.size:
            return None
        length_and_kind, flags, stream = _FRAME_HEAD.unpack_from(data, start)
        begin = start + _FRAME_HEAD.size
        start = begin + (length_and_kind >> 8)
        is_plain = length_and_kind & 0xFF == _DATA and not flags and length_and_kind >> 8
        if not is_plain or start > len(data) or start - begin > connection.max_inbound_frame_size:
            return None
        frames.append((stream, data[begin:start]))
    return frames


def count_received(connection: h2.connection.H2Connection, frames: list[tuple[int, bytes]]) -> bool:
    """Note in the windows that DATA frames came and went; False, and nothing noted, where more has to be done."""
    if connection.state_machine.state is not h2.connection.ConnectionState.CLIENT_OPEN:
        return False
    total = sum(len(body) for _, body in frames)
    streams = [connection.streams.get(stream_id) for stream_id, _ in frames]
    whole = connection._inbound_flow_control_window_manager
    if not _has_way_to_go(whole, total) or not all(_can_receive(stream, total) for stream in streams):
        return False
    _count(whole, total)
    for stream, (_, body) in zip(streams, frames, strict=True):
        if stream is not None:
            _count(stream._inbound_window_manager, len(body))
            stream._actual_content_length += len(body)
    return True


def _can_receive(stream: h2.stream.H2Stream | None, size: int) -> bool:
    return (
        stream is not None
        and stream.state_machine.state in _RECEIVING
        and stream._expected_content_length is None
        and _has_way_to_go(stream._inbound_window_manager, size)
    )


def _has_way_to_go(window: WindowManager, size: int) -> bool:
    """Whether h2 would not open the window again, which it does when half of it is used."""
    return size < min(window.current_window_size, window.max_window_size // 2 - window._bytes_processed)


def _count(window: WindowManager, size: int) -> None:
    window.current_window_size -= size
    window._bytes_processed += size


def send_data(connection: _http_h2.BufferedH2Connection, stream_id: int, data: bytes) -> None:
    """What h2 does for a DATA frame that the windows have room for; it makes and checks a dozen objects for that."""
    stream, size = connection.streams[stream_id], len(data)
    room = min(
        connection.outbound_flow_control_window, stream.outbound_flow_control_window, connection.max_outbound_frame_size
    )
    if (
        not size
        or size > room
        or connection.stream_buffers.get(stream_id)
        or stream.state_machine.state not in _SENDING
    ):
        connection.send_data(stream_id, data)
        return
    connection.outbound_flow_control_window -= size
    stream.outbound_flow_control_window -= size
    connection._data_to_send += _FRAME_HEAD.pack(size << 8 | _DATA, 0, stream_id) + data


def find_forwarder(context: Context, stream_id: int) -> ResponseForwarder | None:
    """The way of the answer to a stream, once its body streams to a client of HTTP/1 or HTTP/2."""
    hub = next((layer for layer in reversed(context.layers) if isinstance(layer, layers.HttpLayer)), None)
    stream = hub.streams.get(stream_id) if hub is not None else None
    if hub is None or stream is None or stream.server_state != stream.state_stream_response_body:
        return None
    side = hub.connections.get(hub.context.client)
    return ResponseForwarder(hub, stream) if isinstance(side, _http1.Http1Server | _http2.Http2Server) else None


def whole_chunks(data: bytes) -> list[bytes] | None:
    """What chunks hold, where the data is nothing but whole ones, none of them the last."""
    bodies, size = leading_chunks(data)
    return bodies if size == len(data) else None


def leading_chunks(data: bytes) -> tuple[list[bytes], int]:
    """What the whole chunks hold that the data begins with, but for the last, and how many bytes they are."""
    bodies, start = [], 0
    while head := _CHUNK_HEAD.match(data, start):
        begin, size = head.end(), int(head.group(1), 16)
        end = begin + size
        if not size or data[end : end + 2] != _END_OF_LINE:
            break
        bodies.append(data[begin:end])
        start = end + 2
    return bodies, start


class ResponsePieces(ResponseData):
    """Pieces of an answer's body that were read at once, in chunks that they are to be sent on in."""

    def __init__(self, stream_id: int, pieces: list[bytes]) -> None:
        super().__init__(stream_id, b"".join(pieces))
        self.pieces = pieces


def is_between_chunks(reader: ChunkedReader) -> bool:
    """Whether the next byte begins a chunk."""
    return IS_KNOWN and not (reader._bytes_in_chunk or reader._bytes_to_discard or reader._reading_trailer)
