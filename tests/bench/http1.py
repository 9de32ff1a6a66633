"""The provider and the clients over HTTP/1.1. They look only for the ends of messages, and write prepared bytes."""

from __future__ import annotations

import asyncio
from typing import cast

from tests.bench.crowd import COMPLETION, Crowd, EventCounter, Exchange, request_head, request_number

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\nopenai-processing-ms: 120\r\nx-request-id: req_0123456789abcdef\r\n\r\n"
)
_WHOLE_HEAD = (
    "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(COMPLETION)}\r\nopenai-processing-ms: 120\r\nx-request-id: req_0123456789abcdef\r\n\r\n"
).encode()
_END = b"0\r\n\r\n"


class Provider(asyncio.Protocol):
    """A connection to the provider."""

    transport: asyncio.Transport

    def __init__(self, exchanges: dict[int, Exchange]) -> None:
        self._exchanges = exchanges
        self._buffer = bytearray()
        self._has_started = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        body_at = buffer.find(b"\r\n\r\n") + 4
        if body_at < 4:
            return
        head = bytes(buffer[:body_at]).lower()
        if not head.startswith(b"post "):
            self.transport.close()  # a proxy checks whether the provider is alive
            return
        if b"transfer-encoding: chunked" in head:
            if not buffer.endswith(_END):
                return
        else:
            length_at = head.index(b"content-length:") + 15
            if len(buffer) < body_at + int(head[length_at : head.index(b"\r", length_at)]):
                return
        exchange = self._exchanges[request_number(buffer[body_at:])]
        buffer.clear()
        self._has_started = False
        exchange.respond(self._send if exchange.events else self._send_whole)

    def _send(self, data: bytes, is_last: bool) -> None:
        head = b"" if self._has_started else _STREAM_HEAD
        self._has_started = True
        self.transport.write(b"%b%x\r\n%b\r\n%b" % (head, len(data), data, _END if is_last else b""))

    def _send_whole(self, data: bytes, _is_last: bool) -> None:
        self.transport.write(_WHOLE_HEAD + data)


class Client(asyncio.Protocol):
    """A client of the crowd: one connection, one request after the other."""

    transport: asyncio.Transport

    def __init__(self, crowd: Crowd, host: str, first_events: int) -> None:
        self._crowd = crowd
        self._host = host
        self._first_events: int | None = first_events
        self._exchange: Exchange | None = None
        self._counter = EventCounter()
        self._tail = b""
        self._size = 0
        self._length = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._crowd.do_in_turn(self._request)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._exchange is not None and not self.transport.is_closing():
            self._crowd.failure = self._crowd.failure or "a connection was lost"

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if not self._size and not data.startswith(b"HTTP/1.1 200"):
            self._crowd.failure = f"refused: {data[:200]!r}"
            return
        if exchange.events:
            self._read_stream(exchange, data)
        else:
            self._read_whole(data)

    def _read_stream(self, exchange: Exchange, data: bytes) -> None:
        self._size += len(data)
        if events := self._counter.count(data):
            exchange.receive(events)
        self._tail = (self._tail + data)[-len(_END) :]
        if self._tail == _END:
            self._end(is_whole=exchange.is_whole)

    def _read_whole(self, data: bytes) -> None:
        if not self._size:
            body_at = data.index(b"\r\n\r\n") + 4
            length_at = data.lower().index(b"content-length:") + 15
            self._length = body_at + int(data[length_at : data.index(b"\r", length_at)])
        self._size += len(data)
        if self._size >= self._length:
            self._crowd.passed += 1
            self._end(is_whole=self._size == self._length)

    def _end(self, *, is_whole: bool) -> None:
        self._exchange, self._tail, self._size = None, b"", 0
        self._crowd.end(is_whole=is_whole)
        self._crowd.do_in_turn(self._request)

    def _request(self) -> None:
        self._exchange, body = self._crowd.new_exchange(self._first_events)
        self._first_events = None
        self.transport.write(request_head(self._host, len(body)) + body)
