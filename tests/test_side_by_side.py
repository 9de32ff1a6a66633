"""Recorders and loaders that work on one data directory at the same time: every exchange is there once."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .support.crowd import Crowd, ask, completion, connected, stream
from .support.recorder import TAPELINE, RunningRecorder, clean_environment, query

pytestmark = pytest.mark.slow

RECORDERS = 2
LOADERS = 2
CONNECTIONS = 3
EXCHANGES = 60
EVENTS = 5


async def ask_on(port: int, numbers: range) -> None:
    """Ask through one recorder, streamed and not by turns."""
    async with connected(port) as (reader, writer):
        for number in numbers:
            streamed = number % 2 == 0
            expected = stream(number, EVENTS) if streamed else completion(number)
            assert await ask(reader, writer, number, streamed=streamed) == expected


async def load_until(done: asyncio.Event, data: Path) -> list[tuple[int | None, bytes]]:
    """Load again and again; gives the exit codes and what was said."""
    results = []
    while not done.is_set():
        command = [*TAPELINE, "load", "--data", str(data)]
        process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=PIPE, env=clean_environment())
        _, said = await process.communicate()
        results.append((process.returncode, said))
    return results


def test_two_recorders_and_two_loaders(data: Path) -> None:
    async def go() -> list[list[tuple[int | None, bytes]]]:
        done = asyncio.Event()
        async with crowd.serving(), asyncio.TaskGroup() as group:
            with ExitStack() as running:
                # Both are started before one is waited for.
                recorders = [RunningRecorder(data, "--upstream", crowd.url) for _ in range(RECORDERS)]
                ports = [urlsplit(running.enter_context(recorder).address).port or 0 for recorder in recorders]
                loaders = [group.create_task(load_until(done, data)) for _ in range(LOADERS)]
                asked = RECORDERS * CONNECTIONS * EXCHANGES
                await asyncio.gather(
                    *(
                        ask_on(ports[number % RECORDERS], range(number, asked, RECORDERS * CONNECTIONS))
                        for number in range(RECORDERS * CONNECTIONS)
                    )
                )
                done.set()
                results = [await loader for loader in loaders]
        return results

    crowd = Crowd(events=EVENTS)
    loads = [load for loader in asyncio.run(go()) for load in loader]
    assert len(loads) >= LOADERS
    assert set(loads) == {(0, b"")}
    ((rows, questions, recorders),) = [
        tuple(row.values())
        for row in query(
            data,
            "SELECT count(*) AS n, count(DISTINCT messages_fingerprint) AS questions, "
            "count(DISTINCT recorder_id) AS recorders FROM exchanges WHERE outcome = 'complete'",
        )
    ]
    assert (rows, questions, recorders) == (RECORDERS * CONNECTIONS * EXCHANGES,) * 2 + (RECORDERS,)
    assert query(data, "SELECT * FROM losses") == []
    assert list((data / "journal").iterdir()) == []
