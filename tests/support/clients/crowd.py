"""Many clients at once and their provider, in one event loop: raw HTTP/1.1, so that every byte can be compared.

The response depends only on the number of the request, so both ends know it without sharing anything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.clients.wire import DONE, FINISH, PATH, chat, event

WAIT_SECONDS = 110.0
# A proxy under test that accepts connections one by one must not drop those that come at the same moment.
BACKLOG = 4096


def words(number: int, count: int) -> list[str]:
    """Return the words of response `number`, one for each event."""
    return [f"{number}.{position} " for position in range(count)]


def stream(number: int, count: int) -> bytes:
    """Return the whole body of a streamed response."""
    return b"".join(map(event, words(number, count))) + FINISH + DONE


def completion(number: int) -> bytes:
    """Return the body of a response without streaming."""
    choice = {"index": 0, "message": {"role": "assistant", "content": f"Answer {number}"}, "finish_reason": "stop"}
    return json.dumps({"id": f"chatcmpl-{number}", "object": "chat.completion", "choices": [choice]}).encode()


@dataclass
class Crowd:
    """A provider. Each stream has `events` events; all but the first are sent once `together` streams are open."""

    events: int = 10
    together: int = 1
    #: Awaited before each event but the first.
    pause: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)
    port: int = 0
    open: int = 0
    most_open: int = 0
    #: Called when all are open.
    at_peak: Callable[[], object] = lambda: None
    _all_open: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Crowd]:
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0, backlog=BACKLOG)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await read_message(reader):
                payload = json.loads(request)
                number = int(payload["messages"][0]["content"].partition(" ")[0])
                if payload["stream"]:
                    await self._stream(writer, number)
                else:
                    body = completion(number)
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                    writer.write(head.encode() + body)
                    await writer.drain()
        except ConnectionError:
            pass  # the client reports what happened
        finally:
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter, number: int) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        for position, word in enumerate(words(number, self.events)):
            if position == 1:
                await self._wait_for_all()
            if position:
                await self.pause()
            writer.write((head if position == 0 else b"") + _chunk(event(word)))
            await writer.drain()
        writer.write(_chunk(FINISH + DONE) + b"0\r\n\r\n")
        await writer.drain()
        self.open -= 1

    async def _wait_for_all(self) -> None:
        if self.open >= self.together and not self._all_open.is_set():
            self.at_peak()
            self._all_open.set()
        await asyncio.wait_for(self._all_open.wait(), WAIT_SECONDS)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, *, streamed: bool, more: str = ""
) -> bytes:
    """Send request `number`, with more text if given, and return the body of the response."""
    body = chat(stream=streamed, text=f"{number} {more}")
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(head.encode() + b"\r\n\r\n" + body)
    return await asyncio.wait_for(read_message(reader), WAIT_SECONDS)


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """Read the body of a request or a response; no bytes at the connection's end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
    except asyncio.IncompleteReadError:
        return b""
    if b"transfer-encoding: chunked" in head:
        return b"".join([data async for data in _chunks(reader)])
    _, _, rest = head.partition(b"content-length:")
    return await reader.readexactly(int(rest.partition(b"\r\n")[0]))


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    size = -1
    while size:
        size = int(await reader.readline(), 16)
        data = await reader.readexactly(size + 2)
        yield data[:-2]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
