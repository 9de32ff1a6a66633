"""Traffic: a provider, and clients that ask without a pause through whatever recorder lives, all in one thread.

Both ends write into the books. They speak HTTP/1.1 by hand, so that the time of each piece is that of the socket.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from random import Random
from typing import Any, Self

from tests.support.clients.wire import PATH
from tests.torture.answers import KINDS, answer_pieces, kind_of, request_body
from tests.torture.books import Books, Entry

CLIENTS = 12
_RETRY_SECONDS = 0.02
_WAIT_SECONDS = 60.0
_MARKER = re.compile(rb"user-agent: torture/(\S+)", re.IGNORECASE)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_BROKEN = (OSError, asyncio.IncompleteReadError)

#: Which life of the recorder listens now, and at which port; None while none does.
Listening = Callable[[], tuple[int, int] | None]


class Load:
    """The provider and its clients; a context manager."""

    def __init__(self, books: Books, seed: int) -> None:
        self._books = books
        self._seed = seed
        self._asking = True
        self._clients: list[Future[None]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._submit(asyncio.start_server(self._serve, "127.0.0.1", 0)).result(_WAIT_SECONDS)
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop_asking()
        self._submit(self._close()).result(_WAIT_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT_SECONDS)
        self._loop.close()

    def start_asking(self, listening: Listening) -> None:
        randoms = (Random(f"{self._seed}.{number}") for number in range(CLIENTS))
        self._clients = [self._submit(self._ask_on(random, listening)) for random in randoms]

    def stop_asking(self) -> None:
        """Let every exchange that runs come to its end."""
        self._asking = False
        for client in self._clients:
            client.result(_WAIT_SECONDS)

    def _submit[T](self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _close(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_on(self, random: Random, listening: Listening) -> None:
        while self._asking:
            if (lives := listening()) is None:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            life, port = lives
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                await self._ask_through(life, random, reader, writer)

    async def _ask_through(self, life: int, random: Random, reader: StreamReader, writer: StreamWriter) -> None:
        """One exchange after another on one connection, for as long as it lasts."""
        usable = True
        try:
            while usable and self._asking:
                (kind,) = random.choices(list(KINDS), [kind.weight for kind in KINDS.values()])
                entry = self._books.open_entry(kind, life, time.monotonic())
                try:
                    await _send_request(writer, entry.marker)
                    usable = await _read_answer(reader, entry)
                except _BROKEN:
                    usable = False
                entry.ended_at = time.monotonic()
        finally:
            writer.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(*_BROKEN):
            while True:
                head = await reader.readuntil(_HEAD_END)
                await reader.readexactly(_number(_LENGTH, head))
                marker = _found(_MARKER, head).decode()
                self._books.note_asked(marker)
                if not await _send_answer(writer, marker):
                    break
        writer.transport.abort()


async def _send_request(writer: StreamWriter, marker: str) -> None:
    kind, body = kind_of(marker), request_body(marker)
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: torture/{marker}\r\nContent-Length: {len(body)}"
    writer.write(head.encode() + _HEAD_END)
    size = -(-len(body) // kind.request_pieces)
    for start in range(0, len(body), size):
        writer.write(body[start : start + size])
        await writer.drain()
        if kind.request_pieces > 1:
            await asyncio.sleep(kind.pause)


async def _read_answer(reader: StreamReader, entry: Entry) -> bool:
    """Read to the end, or until the client has enough; whether the connection can be used again."""
    head = await reader.readuntil(_HEAD_END)
    if b"transfer-encoding: chunked" not in head.lower():
        body = await reader.readexactly(_number(_LENGTH, head))
        entry.note_bytes(time.monotonic(), len(body))
        return True
    enough = _share(entry.marker, kind_of(entry.marker).hang_up_after)
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
        entry.note_bytes(time.monotonic(), size)
        if len(entry.received) >= enough:
            return False
    await reader.readexactly(2)
    return True


async def _send_answer(writer: StreamWriter, marker: str) -> bool:
    """Send the answer, or as much as its kind has; whether it came to its end."""
    kind, pieces = kind_of(marker), answer_pieces(marker)
    if not kind.streamed:
        (body,) = pieces
        head = f"HTTP/1.1 {kind.status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(head.encode() + _HEAD_END + body)
        await writer.drain()
        return True
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked" + _HEAD_END)
    enough = _share(marker, kind.break_off_after)
    for position, piece in enumerate(pieces):
        if position >= enough:
            return False
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        await asyncio.sleep(kind.pause)
    writer.write(b"0" + _HEAD_END)
    await writer.drain()
    return True


def _share(marker: str, share: float | None) -> float:
    """That share of the answer's pieces; more than all of them without one."""
    return float("inf") if share is None else len(answer_pieces(marker)) * share


def _found(pattern: re.Pattern[bytes], head: bytes) -> bytes:
    found = pattern.search(head)
    assert found, head
    return found[1]


def _number(pattern: re.Pattern[bytes], head: bytes) -> int:
    return int(_found(pattern, head))
