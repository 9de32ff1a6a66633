"""How the cost of each step grows when there are 10 and 100 times as many exchanges or open streams.

A step may cost in proportion to what it has to touch: sealing and reports to their exchanges, a load to the new
exchanges, the recorder's memory to the streams that are open at once.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.reports.definition import all_reports
from tapeline.pipeline.reports.run import run_report
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse import database
from tapeline.pipeline.warehouse.query import Filters
from tests.bench import made, storing
from tests.bench.capture import BARE, both
from tests.bench.crowd import Crowd
from tests.bench.figures import Figure, of_sizes
from tests.bench.plan import Plan
from tests.bench.proxies import Running
from tests.bench.surroundings import HTTP, Surroundings

_PART = "Growth"
REPORT = "overview"
#: The exchanges and streams to which the factors apply.
JOURNAL_ROWS = 100
STREAMS = 4
_OPEN_SECONDS = 30.0
_EVENTS = 10
# Longer than the measurement: a stream sends nothing after its first event.
_STANDING_SECONDS = 600.0
_REPEATS = 3


def measure(plan: Plan, folder: Path) -> list[Figure]:
    """Measure all figures of this part."""
    figures = [*_sealing(plan, folder), *_loading_and_reports(plan, folder), *asyncio.run(_open_streams(plan, folder))]
    plan.show(*figures)
    return figures


def _sealing(plan: Plan, folder: Path) -> list[Figure]:
    """Measure the CPU time to seal an exchange, with the writing of files."""
    costs: dict[int, float] = {}
    for times in plan.times:
        count = JOURNAL_ROWS * times
        data = DataDirectory(folder / f"sealed-{times}")
        storing.write_journal(data, count, 0)
        costs[count] = _timed(partial(seal, data), time.process_time) * 1000 / count
        shutil.rmtree(data.root)
    return _beside_the_first(costs, "sealing of {:,}, an exchange", "the same of {:,}")


def _loading_and_reports(plan: Plan, folder: Path) -> list[Figure]:
    """Measure the time to load one more day, and the time of a report for each row."""
    day_rows = plan.rows // 200
    report = next(report for report in all_reports() if report.name == REPORT)
    loads: dict[int, float] = {}
    reports: dict[int, float] = {}
    for times in plan.times:
        rows = day_rows * times
        data = DataDirectory(folder / f"grown-{times}")
        made.make(data, rows, with_content=False, days=min(times, 25))
        database.load(data)
        with database.querying(data) as connection:
            run = partial(run_report, connection, report, Filters())
            reports[rows] = sorted(_timed(run) for _ in range(_REPEATS))[0] * 1000 / rows
        seconds = []
        for more in range(_REPEATS):
            made.make(data, day_rows, with_content=False, first_day=made.FIRST_DAY + timedelta(days=40 + more), days=1)
            seconds.append(_timed(partial(database.load, data)))
        loads[rows] = sorted(seconds)[_REPEATS // 2] * 1000
        shutil.rmtree(data.root)
    return [
        *_beside_the_first(loads, f"load of {day_rows:,} more where {{:,}} are", "the same where {:,} are", "<= 2"),
        *_beside_the_first(reports, f"report {REPORT} on {{:,}}, a row", "the same on {:,}"),
    ]


async def _open_streams(plan: Plan, folder: Path) -> list[Figure]:
    """Measure the recorder's memory beside bare mitmproxy's, while so many streams are open."""
    figures = []
    async with Surroundings(folder).serving() as around:
        with both(around, HTTP) as sides:
            for times in plan.times:
                count = STREAMS * times
                ours, theirs = [await _memory_with(around, side, count) for side in sides]
                figures.append(of_sizes(_PART, f"memory with {count} streams open", ours, theirs, "MiB", BARE))
    return figures


async def _memory_with(around: Surroundings, side: Running, count: int) -> float:
    """Return the memory in MiB when each of so many streams has had its first event."""
    crowd = Crowd(around.exchanges, count, _EVENTS, _STANDING_SECONDS)
    with ExitStack() as stack:
        for transport in await around.crowd(side, HTTP, count, crowd):
            stack.callback(transport.abort)
        crowd.turn(on=True)
        async with asyncio.timeout(_OPEN_SECONDS):
            while crowd.passed < count:
                await asyncio.sleep(0.01)
        return side.memory()


def _timed(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    began = clock()
    action()
    return clock() - began


def _beside_the_first(costs: dict[int, float], what: str, against: str, goal: str = "<= 1.2") -> list[Figure]:
    """Make figures of the milliseconds for each count, against those for the first count."""
    first, base = next(iter(costs.items()))
    return [
        of_sizes(_PART, what.format(count), cost, base, "ms", against.format(first), goal)
        for count, cost in costs.items()
    ]
