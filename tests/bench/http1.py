"""Both ends of HTTP/1.1 for a crowd: they read no more of a message than its end, and write what was made before."""

from __future__ import annotations

import asyncio
from typing import cast

from tests.bench.crowd import COMPLETION, Answer, Crowd, EventCounter, number_of, request_head

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

    def __init__(self, answers: dict[int, Answer]) -> None:
        self._answers = answers
        self._buffer = bytearray()
        self._is_begun = False

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
            self.transport.close()  # a proxy that looks whether the provider lives
            return
        if b"transfer-encoding: chunked" in head:
            if not buffer.endswith(_END):
                return
        else:
            length_at = head.index(b"content-length:") + 15
            if len(buffer) < body_at + int(head[length_at : head.index(b"\r", length_at)]):
                return
        answer = self._answers[number_of(buffer[body_at:])]
        buffer.clear()
        self._is_begun = False
        answer.begin(self._send if answer.events else self._send_whole)

    def _send(self, data: bytes, is_last: bool) -> None:
        head = b"" if self._is_begun else _STREAM_HEAD
        self._is_begun = True
        self.transport.write(b"%b%x\r\n%b\r\n%b" % (head, len(data), data, _END if is_last else b""))

    def _send_whole(self, data: bytes, _is_last: bool) -> None:
        self.transport.write(_WHOLE_HEAD + data)


class Client(asyncio.Protocol):
    """A client of the crowd: one connection, one question after the other."""

    transport: asyncio.Transport

    def __init__(self, crowd: Crowd, host: str, first_events: int) -> None:
        self._crowd = crowd
        self._host = host
        self._first_events: int | None = first_events
        self._answer: Answer | None = None
        self._counter = EventCounter()
        self._tail = b""
        self._size = 0
        self._length = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._crowd.go_on(self._ask)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._answer is not None and not self.transport.is_closing():
            self._crowd.failure = self._crowd.failure or "a connection was lost"

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        if not self._size and not data.startswith(b"HTTP/1.1 200"):
            self._crowd.failure = f"not answered: {data[:200]!r}"
            return
        if answer.events:
            self._take_of_stream(answer, data)
        else:
            self._take_of_whole(answer, data)

    def _take_of_stream(self, answer: Answer, data: bytes) -> None:
        self._size += len(data)
        if events := self._counter.count(data):
            answer.take(events)
        self._tail = (self._tail + data)[-len(_END) :]
        if self._tail == _END:
            self._end(answer, whole=answer.is_whole)

    def _take_of_whole(self, answer: Answer, data: bytes) -> None:
        if not self._size:
            body_at = data.index(b"\r\n\r\n") + 4
            length_at = data.lower().index(b"content-length:") + 15
            self._length = body_at + int(data[length_at : data.index(b"\r", length_at)])
        self._size += len(data)
        if self._size >= self._length:
            self._crowd.passed += 1
            self._end(answer, whole=self._size == self._length)

    def _end(self, answer: Answer, *, whole: bool) -> None:
        self._answer, self._tail, self._size = None, b"", 0
        self._crowd.end(answer, whole=whole)
        self._crowd.go_on(self._ask)

    def _ask(self) -> None:
        answer, body = self._crowd.ask(self._first_events)
        self._first_events = None
        self._answer = answer
        self.transport.write(request_head(self._host, len(body)) + body)
