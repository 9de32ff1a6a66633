"""The provider and the clients over HTTP/2, for a fraction of the cost of a complete implementation.

They read frames by their heads alone, write header blocks without compression and never read them. They open all
windows fully at the start, so that no side waits for one.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

from tests.bench.crowd import COMPLETION, Crowd, EventCounter, Exchange, request_number
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
    """Return a header block: fields of the static table, then the others as literals."""
    fields = (b"\x00%c%b%c%b" % (len(name), name.encode(), len(text), text.encode()) for name, text in named.items())
    return first + b"".join(fields)


_OPENING = frame(
    _SETTINGS, 0, 0, struct.pack(">HIHI", _INITIAL_WINDOW_SIZE, _WIDEST, _MAX_CONCURRENT_STREAMS, 1000)
) + frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WIDEST - 65535))
_RESPONSE_HEADERS = {"openai-processing-ms": "120", "x-request-id": "req_0123456789abcdef"}
_STREAM_HEAD = headers(_STATUS_200, {"content-type": "text/event-stream; charset=utf-8", **_RESPONSE_HEADERS})
_WHOLE_HEAD = headers(
    _STATUS_200, {"content-type": "application/json", "content-length": str(len(COMPLETION)), **_RESPONSE_HEADERS}
)


class _Connection(asyncio.Protocol):
    """Splits what arrives into frames, and acknowledges those that require it."""

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
        """Handle a stream that the other end gave up."""

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

    def __init__(self, exchanges: dict[int, Exchange]) -> None:
        super().__init__()
        self._exchanges = exchanges
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
            exchange = self._exchanges[request_number(body)]
            head = frame(_HEADERS, _END_HEADERS, stream, _STREAM_HEAD if exchange.events else _WHOLE_HEAD)
            exchange.respond(self._sender(stream, head))

    def _sender(self, stream: int, head: bytes) -> Callable[[bytes, bool], None]:
        def send(data: bytes, is_last: bool) -> None:
            nonlocal head
            self.transport.write(head + frame(_DATA, _END_STREAM if is_last else 0, stream, data))
            head = b""

        return send


class Client(_Connection):
    """Some of the crowd's clients, which share a connection, with a stream each."""

    def __init__(self, crowd: Crowd, host: str, first_events: list[int]) -> None:
        super().__init__()
        self._crowd = crowd
        self._host = host
        self._first_events = first_events
        self._open: dict[int, tuple[Exchange, EventCounter]] = {}
        self._next_stream = 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(_PREFACE + _OPENING)
        for events in self._first_events:
            self._crowd.do_in_turn(partial(self._request, events))

    def connection_lost(self, _error: Exception | None) -> None:
        if self._open and not self.transport.is_closing():
            self.failed("a connection was lost")

    def failed(self, why: str) -> None:
        self._crowd.failure = self._crowd.failure or why

    def received(self, stream: int, data: bytes, *, is_last: bool) -> None:
        exchange, counter = self._open[stream]
        if not exchange.events:
            exchange.received += len(data)
        elif events := counter.count(data):
            exchange.receive(events)
        if is_last:
            del self._open[stream]
            if not exchange.events:
                self._crowd.passed += 1
            self._crowd.end(is_whole=exchange.is_whole if exchange.events else exchange.received == len(COMPLETION))
            self._crowd.do_in_turn(self._request)

    def _request(self, first_events: int | None = None) -> None:
        exchange, body = self._crowd.new_exchange(first_events)
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._open[stream] = exchange, EventCounter()
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
