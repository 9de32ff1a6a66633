"""Recorders and loaders that work on one data directory at the same time: every exchange is there once."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.clients.crowd import Crowd, ask, completion, connected, stream
from tests.support.processes.recorder import TAPELINE, RunningRecorder, clean_environment, query

pytestmark = pytest.mark.slow

RECORDERS = 2
LOADERS = 2
CONNECTIONS = 3
LOADS = 4
EVENTS = 10
PAUSE_SECONDS = 0.01


async def ask_on(port: int, numbers: Iterator[int], loading: set[asyncio.Task[None]]) -> int:
    """Ask through one recorder, streamed and not by turns, for as long as somebody loads; gives how often."""
    asked = 0
    async with connected(port) as (reader, writer):
        while not all(loader.done() for loader in loading):
            number = next(numbers)
            streamed = number % 3 > 0
            expected = stream(number, EVENTS) if streamed else completion(number)
            assert await ask(reader, writer, number, streamed=streamed) == expected
            asked += 1
    return asked


async def load_often(data: Path) -> None:
    for _ in range(LOADS):
        command = [*TAPELINE, "load", "--data", str(data)]
        process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=PIPE, env=clean_environment())
        _, said = await process.communicate()
        assert (process.returncode, said) == (0, b"")


def test_two_recorders_and_two_loaders(data: Path) -> None:
    async def go() -> int:
        async with crowd.serving():
            with ExitStack() as running:
                # Both are started before one is waited for.
                recorders = [RunningRecorder(data, "--upstream", crowd.url) for _ in range(RECORDERS)]
                ports = [urlsplit(running.enter_context(recorder).address).port or 0 for recorder in recorders]
                numbers = count()
                async with asyncio.TaskGroup() as group:
                    loading = {group.create_task(load_often(data)) for _ in range(LOADERS)}
                    asking = [
                        group.create_task(ask_on(port, numbers, loading)) for port in ports for _ in range(CONNECTIONS)
                    ]
                return sum(task.result() for task in asking)

    crowd = Crowd(events=EVENTS, pause=lambda: asyncio.sleep(PAUSE_SECONDS))
    asked = asyncio.run(go())
    sealed_meanwhile = len(list(data.glob("exchanges/*/*.parquet")))
    (row,) = query(
        data,
        "SELECT count(*) AS n, count(DISTINCT messages_fingerprint) AS questions, "
        "count(DISTINCT recorder_id) AS recorders FROM exchanges WHERE outcome = 'complete'",
    )
    assert row == {"n": asked, "questions": asked, "recorders": RECORDERS}
    assert query(data, "SELECT count(*) AS n FROM exchanges") == [{"n": asked}]
    assert query(data, "SELECT * FROM losses") == []
    assert list((data / "journal").iterdir()) == []
    assert sealed_meanwhile > RECORDERS
