"""Both ends of HTTP/2 for a crowd, for a fraction of what a whole implementation costs.

Frames are read by their heads alone; header blocks are written without compression and never read. Windows are opened
as wide as they go at the start, so that nobody waits for them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

from tests.bench.crowd import COMPLETION, Answer, Crowd, EventCounter, number_of
from tests.support.clients.wire import PATH

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_WIDEST = 2**31 - 1
_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE = 3, 4
#: Indices of HPACK's static table.
_POST, _HTTPS, _STATUS_200 = b"\x83", b"\x87", b"\x88"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def headers(first: bytes, named: dict[str, str]) -> bytes:
    """A header block: fields of the static table, then the others as literals."""
    fields = (b"\x00%c%b%c%b" % (len(name), name.encode(), len(text), text.encode()) for name, text in named.items())
    return first + b"".join(fields)


_OPENING = frame(
    _SETTINGS, 0, 0, struct.pack(">HIHI", _INITIAL_WINDOW_SIZE, _WIDEST, _MAX_CONCURRENT_STREAMS, 1000)
) + frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WIDEST - 65535))
_ABOUT_ANSWER = {"openai-processing-ms": "120", "x-request-id": "req_0123456789abcdef"}
_STREAM_HEAD = headers(_STATUS_200, {"content-type": "text/event-stream; charset=utf-8", **_ABOUT_ANSWER})
_WHOLE_HEAD = headers(
    _STATUS_200, {"content-type": "application/json", "content-length": str(len(COMPLETION)), **_ABOUT_ANSWER}
)


class _Connection(asyncio.Protocol):
    """Takes frames apart, and answers those that have to be."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for kind, flags, stream, payload in self._frames():
            if kind == _SETTINGS and not flags & _ACK:
                self.transport.write(frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self.transport.write(frame(_PING, _ACK, 0, payload))
            elif kind in (_DATA, _HEADERS):
                self.received(stream, payload if kind == _DATA else b"", is_last=bool(flags & _END_STREAM))
            elif kind in (_RESET, _GOAWAY):
                self.failed(f"HTTP/2 frame {kind}: {payload!r}")

    def received(self, stream: int, data: bytes, *, is_last: bool) -> None:
        raise NotImplementedError

    def failed(self, why: str) -> None:
        """The other end gave a stream up."""

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        buffer, start = self._buffer, 0
        while len(buffer) >= start + 9:
            length_and_kind, flags, stream = struct.unpack_from(">IBI", buffer, start)
            end = start + 9 + (length_and_kind >> 8)
            if len(buffer) < end:
                break
            yield length_and_kind & 0xFF, flags, stream & _WIDEST, buffer[start + 9 : end]
            start = end
        self._buffer = buffer[start:]


class Provider(_Connection):
    """A connection to the provider."""

    def __init__(self, answers: dict[int, Answer]) -> None:
        super().__init__()
        self._answers = answers
        self._bodies: dict[int, bytes] = {}
        self._is_opened = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(_OPENING)

    def data_received(self, data: bytes) -> None:
        if not self._is_opened:
            self._buffer += data
            if len(self._buffer) < len(_PREFACE):
                return
            data, self._buffer = self._buffer[len(_PREFACE) :], b""
            self._is_opened = True
        super().data_received(data)

    def received(self, stream: int, data: bytes, *, is_last: bool) -> None:
        body = self._bodies[stream] = self._bodies.get(stream, b"") + data
        if is_last:
            del self._bodies[stream]
            answer = self._answers[number_of(body)]
            head = frame(_HEADERS, _END_HEADERS, stream, _STREAM_HEAD if answer.events else _WHOLE_HEAD)
            answer.begin(self._sender(stream, head))

    def _sender(self, stream: int, head: bytes) -> Callable[[bytes, bool], None]:
        def send(data: bytes, is_last: bool) -> None:
            nonlocal head
            self.transport.write(head + frame(_DATA, _END_STREAM if is_last else 0, stream, data))
            head = b""

        return send


class Client(_Connection):
    """Some of the crowd's clients, who share a connection, a stream each."""

    def __init__(self, crowd: Crowd, host: str, first_events: list[int]) -> None:
        super().__init__()
        self._crowd = crowd
        self._host = host
        self._first_events = first_events
        self._open: dict[int, tuple[Answer, EventCounter]] = {}
        self._next_stream = 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(_PREFACE + _OPENING)
        for events in self._first_events:
            self._crowd.go_on(partial(self._ask, events))

    def connection_lost(self, _error: Exception | None) -> None:
        if self._open and not self.transport.is_closing():
            self.failed("a connection was lost")

    def failed(self, why: str) -> None:
        self._crowd.failure = self._crowd.failure or why

    def received(self, stream: int, data: bytes, *, is_last: bool) -> None:
        answer, counter = self._open[stream]
        if not answer.events:
            answer.received += len(data)
        elif events := counter.count(data):
            answer.take(events)
        if is_last:
            del self._open[stream]
            if not answer.events:
                self._crowd.passed += 1
            self._crowd.end(answer, whole=answer.is_whole if answer.events else answer.received == len(COMPLETION))
            self._crowd.go_on(self._ask)

    def _ask(self, first_events: int | None = None) -> None:
        answer, body = self._crowd.ask(first_events)
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._open[stream] = answer, EventCounter()
        about = {
            ":path": PATH,
            ":authority": self._host,
            "accept": "application/json",
            "content-type": "application/json",
            "user-agent": "OpenAI/Python 3.0.0",
            "x-stainless-lang": "python",
            "x-stainless-runtime": "CPython",
            "authorization": "Bearer sk-bench-0123456789abcdef0123456789abcdef",
            "content-length": str(len(body)),
        }
        head = frame(_HEADERS, _END_HEADERS, stream, headers(_POST + _HTTPS, about))
        self.transport.write(head + frame(_DATA, _END_STREAM, stream, body))
