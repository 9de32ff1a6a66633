"""`make stress`: a thousand streams, a hundred thousand exchanges, streams of an hour, and a full disk.

Each part prints a table; `python -m tests.stress PART...` runs single parts. Every byte that a client reads is
compared, and every exchange must be in the dataset afterwards or be counted in its losses; otherwise the part fails.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.clients.crowd import Crowd, ask, completion, connected, stream
from tests.support.machine.smalldisk import SmallDisk, small_disk
from tests.support.processes.linux import MEBIBYTE, resident, sealing_processes
from tests.support.processes.recorder import RunningRecorder, query

STREAMS = 1_000
STEPS = (1_000, 10_000, 100_000)
CONNECTIONS = 16
# The time limit for a hundred thousand exchanges; a slower machine prints how far it got.
SECONDS = 720.0
# Ten events a second, for an hour.
EVENTS = 36_000
PAUSE_SECONDS = 3.0
PAUSES = 15
IDLE_SECONDS = 4
LARGE = 2_000_000
# Room for the journal, the log, the dataset, and everything that the recorder keeps in memory.
DISK = "1g"
FULL_SECONDS = 20.0


def print_row(*cells: object) -> None:
    """Print a row of a table."""
    print("  ".join(f"{cell:>14}" for cell in cells), flush=True)  # noqa: T201


def mib(size: int) -> str:
    return f"{size / MEBIBYTE:.1f}"


class Bench:
    """A provider with a recorder in front of it, and the memory that the recorder uses."""

    def __init__(self, crowd: Crowd, recorder: RunningRecorder) -> None:
        self.crowd = crowd
        self.recorder = recorder
        self.port = int(urlsplit(recorder.address).port or 0)

    def recorder_memory(self) -> str:
        return mib(resident(self.recorder.process.pid))

    def sealing_memory(self) -> str:
        return "+".join(mib(resident(pid)) for pid in sealing_processes(self.recorder)) or "-"

    async def ask(self, number: int) -> None:
        """Request a stream over a new connection, and compare the bytes that come."""
        async with connected(self.port) as (reader, writer):
            body = await ask(reader, writer, number, streamed=True)
        assert body == stream(number, self.crowd.events), f"response {number} is not what was sent"


@asynccontextmanager
async def bench(data: Path, crowd: Crowd, *options: str) -> AsyncIterator[Bench]:
    async with crowd.serving():
        recorder = await asyncio.to_thread(RunningRecorder, data, "--upstream", crowd.url, *options)
        with recorder:
            yield Bench(crowd, recorder)
            # The recorder may wait for the clients to end, and they run in this loop.
            await asyncio.to_thread(recorder.stop)


def counted(data: Path) -> tuple[int, int]:
    """Return the numbers of complete and of lost exchanges."""
    (row,) = query(
        data,
        "SELECT (SELECT count(*) FROM exchanges WHERE outcome = 'complete') AS whole, "
        "(SELECT coalesce(sum(exchanges), 0) FROM losses) AS lost",
    )
    return int(row["whole"]), int(row["lost"])


async def many_streams(data: Path) -> None:
    """All streams are open before any of them continues."""
    print_row("streams open", "seconds", "recorder MiB", "sealing MiB")
    crowd = Crowd(events=10, together=STREAMS)
    async with bench(data, crowd) as running:
        began = time.monotonic()

        def print_state(count: int) -> None:
            seconds = f"{time.monotonic() - began:.1f}"
            print_row(count, seconds, running.recorder_memory(), running.sealing_memory())

        print_state(0)
        crowd.at_peak = lambda: print_state(crowd.open)
        await asyncio.gather(*(running.ask(number) for number in range(STREAMS)))
        print_state(crowd.open)
        await asyncio.sleep(10)
        print_state(crowd.open)
    print_row("recorded", counted(data)[0], "lost", counted(data)[1])
    assert counted(data) == (STREAMS, 0)


async def many_exchanges(data: Path) -> None:
    """Small exchanges, over connections that stay open."""
    print_row("exchanges", "seconds", "recorder MiB", "sealing MiB", "journal MiB")
    began, done = time.monotonic(), 0

    async def one_connection(port: int, numbers: range) -> None:
        nonlocal done
        async with connected(port) as (reader, writer):
            for number in numbers:
                if time.monotonic() - began > SECONDS:
                    return
                assert await ask(reader, writer, number, streamed=False) == completion(number)
                done += 1

    async with bench(data, Crowd()) as running:
        for first, last in zip((0, *STEPS), STEPS, strict=False):
            ranges = [range(first + start, last, CONNECTIONS) for start in range(CONNECTIONS)]
            await asyncio.gather(*(one_connection(running.port, numbers) for numbers in ranges))
            journal = sum(path.stat().st_size for path in (data / "journal").iterdir())
            seconds = f"{time.monotonic() - began:.0f}"
            print_row(done, seconds, running.recorder_memory(), running.sealing_memory(), mib(journal))
    print_row("recorded", counted(data)[0], "lost", counted(data)[1])
    assert counted(data) == (done, 0)
    if done < STEPS[-1]:
        print_row(f"stopped after {SECONDS:.0f} s: this machine is too slow for {STEPS[-1]:,}")


async def long_streams(data: Path) -> None:
    """The events of an hour as fast as possible, and long pauses with a short idle timeout."""
    print_row("events", "pause s", "seconds", "recorder MiB", "recorded us")
    crowd = Crowd(events=100)
    async with bench(data, crowd, "--set", f"tcp_timeout={IDLE_SECONDS}") as running:
        for number, (events, pause) in enumerate(
            ((100, 0.0), (EVENTS, 0.0), (EVENTS, 0.0), (PAUSES + 1, PAUSE_SECONDS))
        ):
            crowd.events = events
            crowd.pause = partial(asyncio.sleep, pause)
            began = time.monotonic()
            await running.ask(number)
            print_row(events, pause, f"{time.monotonic() - began:.1f}", running.recorder_memory(), "")
    for row in query(data, "SELECT len(event_offsets_us) AS events, ended_us FROM exchanges ORDER BY started_at"):
        print_row(row["events"], "", "", "", row["ended_us"])
    assert counted(data) == (4, 0)
    (row,) = query(data, "SELECT event_offsets_us AS at FROM exchanges ORDER BY started_at DESC LIMIT 1")
    assert row["at"][PAUSES] - row["at"][0] >= PAUSES * PAUSE_SECONDS * 1e6 - 1e6


async def full_disk(folder: Path) -> None:
    """More data than the recorder keeps in memory passes while the disk is full."""
    with small_disk(folder / "disk", DISK) as disk:
        await _full_disk(disk)


async def _full_disk(disk: SmallDisk) -> None:
    data = disk.root / "recordings"
    served = {"before": 0, "while full": 0, "after": 0}
    failures = 0
    text = "x" * LARGE

    async def ask_for(seconds: float, when: str) -> None:
        nonlocal failures
        until = time.monotonic() + seconds
        async with connected(running.port) as (reader, writer):
            while time.monotonic() < until:
                number = sum(served.values())
                body = await ask(reader, writer, number, streamed=False, more=text if when == "while full" else "")
                failures += body != completion(number)
                served[when] += 1

    async with bench(data, Crowd()) as running:
        await ask_for(3, "before")
        print_row("recorder MiB", running.recorder_memory())
        disk.fill()
        await ask_for(FULL_SECONDS, "while full")
        print_row("while full MiB", running.recorder_memory())
        disk.free()
        await asyncio.to_thread(running.recorder.wait_until_said, "writes its journal again")
        await ask_for(3, "after")
        print_row("after MiB", running.recorder_memory())
    whole, lost = counted(data)
    for when, count in served.items():
        print_row("served", when, count)
    print_row("failures", failures)
    print_row("recorded", whole, "lost", lost)
    sys.stderr.write("".join(line for line in running.recorder.said.splitlines(True) if "Tapeline" in line))
    assert whole + lost == sum(served.values())
    assert failures == 0


PARTS: dict[str, Callable[[Path], Coroutine[Any, Any, None]]] = {
    "streams": many_streams,
    "exchanges": many_exchanges,
    "hour": long_streams,
    "disk": full_disk,
}


def main(names: list[str]) -> int:
    """Run the named parts, or all."""
    for name in names or PARTS:
        print(f"\n{name}: {PARTS[name].__doc__}")  # noqa: T201
        with tempfile.TemporaryDirectory() as folder:
            try:
                asyncio.run(PARTS[name](Path(folder) / "recordings" if name != "disk" else Path(folder)))
            except pytest.skip.Exception as reason:
                print_row(f"skipped: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
