"""Takes pieces of a streamed response from the server's side to the client's, past the layers in between.

A piece of the body is given to the stream callable and written to the client. mitmproxy takes it through a dozen
generators for that, which is most of what a streamed event costs. Everything else takes mitmproxy's own way, and so do
pieces that come while an addon holds the flow or after the client has gone.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Callable, Iterable

import h2.connection
import h2.stream
from h2.windows import WindowManager
from h11._readers import ChunkedReader
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers import http as layers
from mitmproxy.proxy.layers.http import _http1, _http2, _http_h2

_CHUNK_HEAD = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")
_END_OF_LINE = b"\r\n"
_FRAME_HEAD = struct.Struct(">IBI")
_DATA = 0
_SENDING = (h2.stream.StreamState.OPEN, h2.stream.StreamState.HALF_CLOSED_REMOTE)
_RECEIVING = (h2.stream.StreamState.OPEN, h2.stream.StreamState.HALF_CLOSED_LOCAL)


def has_room(writer: object) -> bool:
    """Whether a write now goes out at once."""
    if not isinstance(writer, asyncio.StreamWriter) or writer.transport.is_closing():
        return False
    protocol = getattr(writer, "_protocol", None)
    return getattr(protocol, "_paused", True) is False


class ResponseForwarder:
    """Forwards the pieces of one response."""

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
        self._stream_callable: Callable[[bytes], Iterable[bytes] | bytes] | None = (
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

    def forward(self, pieces: Iterable[bytes]) -> bytes:
        """Give pieces to the stream callable, and return the bytes to write to the client."""
        if self._stream_callable is not None:
            pieces = [part for piece in pieces for part in _as_several(self._stream_callable(piece))]
        side = self._side
        if not isinstance(side, _http2.Http2Connection):
            return b"".join(map(self._framed, pieces))
        for piece in pieces:
            if side.is_open_for_us(self._stream.stream_id):
                send_data(side.h2_conn, self._stream.stream_id, piece)
        return side.h2_conn.data_to_send() or b""

    def send(self, data: bytes) -> CommandGenerator[None]:
        """Write what `forward` returned."""
        if data:
            yield commands.SendData(self._client, data)

    def _framed(self, piece: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self._is_chunked else piece


def _as_several(pieces: bytes | Iterable[bytes]) -> Iterable[bytes]:
    """Return what a stream callable returned, one piece or several, as several."""
    return (pieces,) if isinstance(pieces, bytes) else pieces


def data_frames(connection: h2.connection.H2Connection, data: bytes) -> list[tuple[int, bytes]] | None:
    """Return (stream id, body) of each frame; None unless the data is whole DATA frames that end no stream."""
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
    """Count DATA frames in h2's flow-control windows; count nothing and return False where h2 has more to do."""
    if connection.state_machine.state is not h2.connection.ConnectionState.CLIENT_OPEN:
        return False
    total = sum(len(body) for _, body in frames)
    streams = [connection.streams.get(stream_id) for stream_id, _ in frames]
    whole = connection._inbound_flow_control_window_manager
    if not _stays_open(whole, total) or not all(_can_receive(stream, total) for stream in streams):
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
        and _stays_open(stream._inbound_window_manager, size)
    )


def _stays_open(window: WindowManager, size: int) -> bool:
    """Whether h2 would leave the window as it is: it opens the window again when half is used."""
    return size < min(window.current_window_size, window.max_window_size // 2 - window._bytes_processed)


def _count(window: WindowManager, size: int) -> None:
    window.current_window_size -= size
    window._bytes_processed += size


def send_data(connection: _http_h2.BufferedH2Connection, stream_id: int, data: bytes) -> None:
    """Send a DATA frame as h2 would; where the windows have room, without the dozen objects that h2 makes for it."""
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
    """Return a forwarder for the response to a stream, once its body streams to a client of HTTP/1 or HTTP/2."""
    hub = next((layer for layer in reversed(context.layers) if isinstance(layer, layers.HttpLayer)), None)
    stream = hub.streams.get(stream_id) if hub is not None else None
    if hub is None or stream is None or stream.server_state != stream.state_stream_response_body:
        return None
    side = hub.connections.get(hub.context.client)
    return ResponseForwarder(hub, stream) if isinstance(side, _http1.Http1Server | _http2.Http2Server) else None


def whole_chunks(data: bytes) -> list[bytes] | None:
    """Return the bodies of the chunks; None unless the data is whole chunks, none of them the last."""
    bodies, size = leading_chunks(data)
    return bodies if size == len(data) else None


def leading_chunks(data: bytes) -> tuple[list[bytes], int]:
    """Return the bodies of the whole chunks that the data starts with, and their bytes; the last chunk is not one."""
    bodies, start = [], 0
    while head := _CHUNK_HEAD.match(data, start):
        begin, size = head.end(), int(head.group(1), 16)
        end = begin + size
        if not size or data[end : end + 2] != _END_OF_LINE:
            break
        bodies.append(data[begin:end])
        start = end + 2
    return bodies, start


def is_between_chunks(reader: ChunkedReader) -> bool:
    """Whether the next byte begins a chunk."""
    return not (reader._bytes_in_chunk or reader._bytes_to_discard or reader._reading_trailer)
