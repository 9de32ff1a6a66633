"""How fast journals are sealed and datasets are loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import duckdb

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import create_journal, write_entries
from tapeline.pipeline.warehouse import database
from tests.bench import made
from tests.bench.capture import RESPONSES
from tests.bench.crowd import COMPLETION, EVENTS, LAST_EVENT, request_body
from tests.bench.figures import Figure, of_one, of_pairs
from tests.bench.plan import Plan
from tests.support.journals.journals import NOON_US

_SEAL, _LOAD = "Sealing", "Loading"
_COPY = "CREATE TABLE copy AS SELECT * FROM read_parquet('{}', union_by_name = true)"
#: Sealed exchanges by their responses: so many that sealing takes a few seconds.
COUNTS = {"50 events": 5_000, "500 events": 500, "not streamed": 5_000}
_CPU = "{}, CPU seconds per 1,000 exchanges"
SEAL_SECONDS = 120.0
_SEALING = r"""
import json, re, sys, time
from pathlib import Path
from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.dataset import parquet
from tapeline.pipeline.sealing.seal import seal
began, used = time.perf_counter(), time.process_time()
sealed = seal(DataDirectory(Path(sys.argv[1])))
seconds, cpu = time.perf_counter() - began, time.process_time() - used
peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
result = {"exchanges": sealed.exchanges, "problems": sealed.problems, "seconds": seconds, "cpu": cpu, "peak": peak}
print(json.dumps(result))
"""


def measure(plan: Plan, folder: Path) -> list[Figure]:
    """Measure all figures of this part."""
    figures = [*_sealing(plan, folder), *_loading(plan, folder)]
    plan.show(*figures)
    return figures


def keeping_up(captured: dict[str, float], figures: list[Figure]) -> list[Figure]:
    """Return the share of a core that sealing needs at the highest rate of exchanges that capture reached."""
    costs = {figure.what: figure.ours for figure in figures if figure.part == _SEAL}
    return [
        of_one(_SEAL, f"{name}, cores at {rate:.0f}/s, the highest rate captured", rate * cost / 1000, "", "<= 1")
        for name, rate in captured.items()
        if (cost := costs.get(_CPU.format(name))) is not None
    ]


def _sealing(plan: Plan, folder: Path) -> list[Figure]:
    """Measure sealing in a process of its own, as it runs beside a recorder."""
    figures = []
    for name, count in COUNTS.items():
        number = count // 4 if plan.is_quick else count
        data = DataDirectory(folder / name.replace(" ", "-"))
        write_journal(data, number, RESPONSES[name])
        command = [sys.executable, "-P", "-c", _SEALING, str(data.root)]
        sealed = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=SEAL_SECONDS).stdout)
        if sealed["exchanges"] != number:
            raise RuntimeError(f"sealed {sealed['exchanges']} of {number}: {sealed['problems']}")
        figures += [
            of_one(_SEAL, name, number / sealed["seconds"], "exchanges/s"),
            of_one(_SEAL, _CPU.format(name), sealed["cpu"] / number * 1000, "s"),
            of_one(_SEAL, f"{name}, peak memory", sealed["peak"] / 1024, "MiB"),
        ]
    return figures


def write_journal(data: DataDirectory, count: int, events: int) -> None:
    """Write the journal of a recorder that has ended; every request in it is different."""
    data.create()
    journal = create_journal(data.journal("bench"), {"recorder_id": "bench", "run": "bench", "redact": "credentials"})
    journal.execute("BEGIN")
    for number in range(count):
        write_entries(journal, number, list(_entries(number, events)), [])
    journal.execute("COMMIT")
    journal.close()


def _entries(number: int, events: int) -> list[tuple[str, int, object]]:
    head = {
        "exchange_id": f"{number:08x}-0000-7000-8000-000000000000",
        "run": "bench",
        "started_at_us": NOON_US + number * 1000,
        "client_connection_id": "1",
        "mode": "regular",
        "scheme": "https",
        "host": "api.openai.com",
        "port": 443,
        "path": "/v1/chat/completions",
        "http_version": "HTTP/1.1",
        "headers": [["content-type", "application/json"], ["user-agent", "OpenAI/Python 3.0.0"]],
        "api_key_id": None,
        "credentials": [],
    }
    answer = {
        "status_code": 200,
        "http_version": "HTTP/1.1",
        "headers": [["content-type", "text/event-stream" if events else "application/json"]],
        "request_sent_us": 20,
        "response_headers_us": 100_000,
    }
    pieces = [EVENTS[at % len(EVENTS)] for at in range(events - 1)] + [LAST_EVENT] if events else [COMPLETION]
    return [
        ("head", number, head),
        ("request", number, (10, request_body(number, streamed=bool(events)))),
        ("answer", number, answer),
        *(("response", number, (100_000 + at * 20_000, piece)) for at, piece in enumerate(pieces)),
        ("ending", number, {"how": "response", "ended_us": 100_000 + events * 20_000}),
    ]


def _loading(plan: Plan, folder: Path) -> list[Figure]:
    """Measure rows a second of a whole load, against DuckDB's copy of the same files into a table."""
    rows = plan.load_rows
    pairs = []
    data = DataDirectory(folder / "load")
    made.make(data, rows, with_content=False)
    for _ in range(plan.load_pairs):
        ours = load_from_scratch(data)
        pairs.append((rows / ours, rows / copy(data, folder / "copy.duckdb")))
    return [of_pairs(_LOAD, f"{rows:,} exchanges", pairs, "rows/s", "CREATE TABLE AS SELECT * of the files", ">= 0.7")]


def load_from_scratch(data: DataDirectory) -> float:
    """Load a whole dataset into a new warehouse, and return the seconds."""
    data.warehouse.unlink(missing_ok=True)
    began = time.perf_counter()
    loaded = database.load(data)
    seconds = time.perf_counter() - began
    if loaded.problems:
        raise RuntimeError(str(loaded.problems))
    return seconds


def copy(data: DataDirectory, path: Path) -> float:
    """Copy the same rows into a database file with DuckDB alone, and return the seconds."""
    path.unlink(missing_ok=True)
    began = time.perf_counter()
    with duckdb.connect(path) as connection:
        connection.execute(_COPY.format(data.dataset("exchanges") / "*" / "*.parquet"))
        connection.execute("CHECKPOINT")
    return time.perf_counter() - began
