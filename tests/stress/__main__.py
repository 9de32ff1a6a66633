"""`make stress`: a thousand streams, a hundred thousand exchanges, streams of an hour, and a full disk.

Each part prints a table; `python -m tests.stress PART...` runs some of them. Every byte that a client reads is
compared, and what is not in the dataset afterwards must be in its losses: a part that finds otherwise fails.
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
# A hundred thousand exchanges are given so long; a slower machine prints how far it got.
SECONDS = 720.0
# Ten events a second, for an hour.
EVENTS = 36_000
PAUSE_SECONDS = 3.0
PAUSES = 15
IDLE_SECONDS = 4
LARGE = 2_000_000
# Room for all that the recorder keeps in memory, in the journal, in its log and in the dataset.
DISK = "1g"
FULL_SECONDS = 20.0


def say(*cells: object) -> None:
    """A line of a table."""
    print("  ".join(f"{cell:>14}" for cell in cells), flush=True)  # noqa: T201


def mib(size: int) -> str:
    return f"{size / MEBIBYTE:.1f}"


class Bench:
    """A provider with a recorder before it, and what both hold in memory."""

    def __init__(self, crowd: Crowd, recorder: RunningRecorder) -> None:
        self.crowd = crowd
        self.recorder = recorder
        self.port = int(urlsplit(recorder.address).port or 0)

    def recorder_memory(self) -> str:
        return mib(resident(self.recorder.process.pid))

    def sealing_memory(self) -> str:
        return "+".join(mib(resident(pid)) for pid in sealing_processes(self.recorder)) or "-"

    async def ask(self, number: int) -> None:
        """Ask for a stream on a connection of its own, and compare what comes."""
        async with connected(self.port) as (reader, writer):
            body = await ask(reader, writer, number, streamed=True)
        assert body == stream(number, self.crowd.events), f"answer {number} came changed"


@asynccontextmanager
async def bench(data: Path, crowd: Crowd, *options: str) -> AsyncIterator[Bench]:
    async with crowd.serving():
        recorder = await asyncio.to_thread(RunningRecorder, data, "--upstream", crowd.url, *options)
        with recorder:
            yield Bench(crowd, recorder)
            # Its end may wait for the clients, which live in this loop.
            await asyncio.to_thread(recorder.stop)


def counted(data: Path) -> tuple[int, int]:
    """Exchanges that are recorded whole, and lost ones."""
    (row,) = query(
        data,
        "SELECT (SELECT count(*) FROM exchanges WHERE outcome = 'complete') AS whole, "
        "(SELECT coalesce(sum(exchanges), 0) FROM losses) AS lost",
    )
    return int(row["whole"]), int(row["lost"])


async def many_streams(data: Path) -> None:
    """All streams are open before any of them goes on."""
    say("streams open", "seconds", "recorder MiB", "sealing MiB")
    crowd = Crowd(events=10, together=STREAMS)
    async with bench(data, crowd) as running:
        began = time.monotonic()

        def tell(count: int) -> None:
            seconds = f"{time.monotonic() - began:.1f}"
            say(count, seconds, running.recorder_memory(), running.sealing_memory())

        tell(0)
        crowd.at_peak = lambda: tell(crowd.open)
        await asyncio.gather(*(running.ask(number) for number in range(STREAMS)))
        tell(crowd.open)
        await asyncio.sleep(10)
        tell(crowd.open)
    say("recorded", counted(data)[0], "lost", counted(data)[1])
    assert counted(data) == (STREAMS, 0)


async def many_exchanges(data: Path) -> None:
    """Small ones, over connections that stay."""
    say("exchanges", "seconds", "recorder MiB", "sealing MiB", "journal MiB")
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
            say(done, seconds, running.recorder_memory(), running.sealing_memory(), mib(journal))
    say("recorded", counted(data)[0], "lost", counted(data)[1])
    assert counted(data) == (done, 0)
    if done < STEPS[-1]:
        say(f"stopped after {SECONDS:.0f} s: this machine is too slow for {STEPS[-1]:,}")


async def long_streams(data: Path) -> None:
    """An hour's events as fast as they pass, and long silences under a short idle timeout."""
    say("events", "pause s", "seconds", "recorder MiB", "recorded us")
    crowd = Crowd(events=100)
    async with bench(data, crowd, "--set", f"tcp_timeout={IDLE_SECONDS}") as running:
        for number, (events, pause) in enumerate(
            ((100, 0.0), (EVENTS, 0.0), (EVENTS, 0.0), (PAUSES + 1, PAUSE_SECONDS))
        ):
            crowd.events = events
            crowd.pause = partial(asyncio.sleep, pause)
            began = time.monotonic()
            await running.ask(number)
            say(events, pause, f"{time.monotonic() - began:.1f}", running.recorder_memory(), "")
    for row in query(data, "SELECT len(event_offsets_us) AS events, ended_us FROM exchanges ORDER BY started_at"):
        say(row["events"], "", "", "", row["ended_us"])
    assert counted(data) == (4, 0)
    (row,) = query(data, "SELECT event_offsets_us AS at FROM exchanges ORDER BY started_at DESC LIMIT 1")
    assert row["at"][PAUSES] - row["at"][0] >= PAUSES * PAUSE_SECONDS * 1e6 - 1e6


async def full_disk(folder: Path) -> None:
    """More than the recorder keeps in memory passes while the disk is full."""
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
        say("recorder MiB", running.recorder_memory())
        disk.fill()
        await ask_for(FULL_SECONDS, "while full")
        say("while full MiB", running.recorder_memory())
        disk.free()
        await asyncio.to_thread(running.recorder.wait_until_said, "writes its journal again")
        await ask_for(3, "after")
        say("after MiB", running.recorder_memory())
    whole, lost = counted(data)
    for when, count in served.items():
        say("served", when, count)
    say("failures", failures)
    say("recorded", whole, "lost", lost)
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
    """Run the parts of these names, or all."""
    for name in names or PARTS:
        print(f"\n{name}: {PARTS[name].__doc__}")  # noqa: T201
        with tempfile.TemporaryDirectory() as folder:
            try:
                asyncio.run(PARTS[name](Path(folder) / "recordings" if name != "disk" else Path(folder)))
            except pytest.skip.Exception as reason:
                say(f"skipped: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
