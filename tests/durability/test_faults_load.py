"""Many streams at once, and one that goes on and on: whole, byte for byte, with their times, in memory that stays."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.clients.crowd import Crowd, ask, completion, connected, stream, words
from tests.support.processes.linux import MEBIBYTE, resident
from tests.support.processes.recorder import RunningRecorder, query

pytestmark = pytest.mark.slow

STREAMS = 200
EVENTS = 5_000
EXCHANGES = 2_000
CONNECTIONS = 8
# What the allocator may keep: leaks at a few kilobytes an exchange or an event come to more.
SLACK = 12 * MEBIBYTE


def port_of(recorder: RunningRecorder) -> int:
    port = urlsplit(recorder.address).port
    assert port is not None
    return port


async def ask_once(port: int, number: int, *, streamed: bool = True) -> bytes:
    async with connected(port) as (reader, writer):
        return await ask(reader, writer, number, streamed=streamed)


def test_many_streams_at_once_come_whole_and_are_recorded_whole(data: Path) -> None:
    async def go() -> list[bytes]:
        async with crowd.serving():
            with RunningRecorder(data, "--upstream", crowd.url) as recorder:
                return await asyncio.gather(*(ask_once(port_of(recorder), number) for number in range(STREAMS)))

    crowd = Crowd(events=5, together=STREAMS)
    assert asyncio.run(go()) == [stream(number, 5) for number in range(STREAMS)]
    assert crowd.most_open == STREAMS
    rows = query(data, "SELECT outcome, choices[1].content AS text, response_bytes FROM exchanges")
    assert {row["outcome"] for row in rows} == {"complete"}
    assert {row["text"] for row in rows} == {"".join(words(number, 5)) for number in range(STREAMS)}
    assert sum(row["response_bytes"] for row in rows) == sum(len(stream(number, 5)) for number in range(STREAMS))
    assert len(rows) == STREAMS
    assert query(data, "SELECT * FROM losses") == []


def test_a_long_stream_takes_no_more_memory_than_a_short_one(data: Path) -> None:
    async def go() -> tuple[int, int, bytes]:
        async with crowd.serving():
            with RunningRecorder(data, "--upstream", crowd.url) as recorder:
                crowd.events = 100
                await ask_once(port_of(recorder), 1)
                before = resident(recorder.process.pid)
                crowd.events = EVENTS
                body = await ask_once(port_of(recorder), 2)
                return before, resident(recorder.process.pid), body

    crowd = Crowd(pause=lambda: asyncio.sleep(0.0005))
    before, after, body = asyncio.run(go())
    assert body == stream(2, EVENTS)
    assert after - before < SLACK
    (row,) = query(
        data,
        "SELECT outcome, len(event_offsets_us) AS events, choices[1].content AS text FROM exchanges "
        "ORDER BY started_at DESC LIMIT 1",
    )
    assert row == {"outcome": "complete", "events": EVENTS + 2, "text": "".join(words(2, EVENTS))}


def test_many_exchanges_take_no_more_memory_than_a_few(data: Path) -> None:
    async def one_connection(port: int, numbers: range) -> None:
        async with connected(port) as (reader, writer):
            for number in numbers:
                assert await ask(reader, writer, number, streamed=False) == completion(number)

    async def ask_all(port: int, first: int, count: int) -> None:
        ranges = [range(first + start, first + count, CONNECTIONS) for start in range(CONNECTIONS)]
        await asyncio.gather(*(one_connection(port, numbers) for numbers in ranges))

    async def go() -> tuple[int, int]:
        crowd = Crowd()
        async with crowd.serving():
            with RunningRecorder(data, "--upstream", crowd.url) as recorder:
                await ask_all(port_of(recorder), 0, EXCHANGES // 4)
                before = resident(recorder.process.pid)
                await ask_all(port_of(recorder), EXCHANGES // 4, EXCHANGES)
                return before, resident(recorder.process.pid)

    before, after = asyncio.run(go())
    assert after - before < SLACK
    assert query(data, "SELECT count(*) AS n, count(DISTINCT response_id) AS ids FROM exchanges") == [
        {"n": EXCHANGES * 5 // 4, "ids": EXCHANGES * 5 // 4}
    ]


def test_a_stream_with_long_pauses_outlives_the_idle_timeout_and_keeps_its_times(data: Path) -> None:
    """Each pause is much shorter than the timeout, all of them together are longer."""
    sent_ns: list[int] = []

    async def pause() -> None:
        await asyncio.sleep(1.0)
        sent_ns.append(time.monotonic_ns())

    async def go() -> bytes:
        async with crowd.serving():
            with RunningRecorder(data, "--upstream", crowd.url, "--set", "tcp_timeout=4") as recorder:
                return await ask_once(port_of(recorder), 1)

    crowd = Crowd(events=8, pause=pause)
    assert asyncio.run(go()) == stream(1, 8)
    (row,) = query(data, "SELECT outcome, event_offsets_us AS at FROM exchanges")
    assert row["outcome"] == "complete"
    assert len(row["at"]) == 10
    assert row["at"] == sorted(row["at"])
    # How much later an event arrives than it was sent is the machine's business; the pauses are not.
    assert row["at"][7] - row["at"][1] >= (sent_ns[-1] - sent_ns[0]) // 1000 // 2
