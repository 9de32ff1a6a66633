"""`make bench`: the cost of recording, storing and querying, each figure beside its goal.

`python -m tests.bench [--quick] [--rows N] [PART...]` runs some parts. The table goes to stdout, `bench.json` and
`bench.md` (the table of docs/benchmarks.md) to `.bench/`. Each figure goes to stderr as soon as it is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
from mitmproxy import version

from tests.bench import capture, growth, plan, proxies, querying, startup, storage, storing
from tests.bench.figures import Figure, as_json, as_markdown, as_table

OUTPUT = Path(".bench")
PARTS: dict[str, Callable[[plan.Plan, Path], list[Figure]]] = {
    "capture": lambda chosen, folder: asyncio.run(capture.measure(chosen, folder)),
    "storage": storage.measure,
    "storing": storing.measure,
    "querying": querying.measure,
    "growth": growth.measure,
    "startup": startup.measure,
}


def main(arguments: list[str]) -> int:
    """Measure the named parts, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure what Tapeline costs.")
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; without one, all")
    parser.add_argument("--quick", action="store_true", help="a sample of everything, in two minutes")
    parser.add_argument("--rows", type=int, default=1_000_000, help="exchanges in the dataset for reports")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    with_peers = proxies.are_peers_there()
    amount = plan.quick(with_peers=with_peers) if chosen.quick else plan.whole(with_peers=with_peers, rows=chosen.rows)
    figures: list[Figure] = []
    began = time.monotonic()
    for name in chosen.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="tapeline-bench-") as folder:
            sys.stderr.write(f"\n{name}, after {time.monotonic() - began:.0f} s\n")
            figures += PARTS[name](amount, Path(folder))
    figures += storing.keeping_up(capture.highest_rates(figures), figures)
    print(as_table(figures))  # noqa: T201
    machine = _machine()
    print(f"\n{machine} It took {time.monotonic() - began:.0f} s.")  # noqa: T201
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / "bench.json").write_text(json.dumps(as_json(figures, machine), indent=1) + "\n")
    (OUTPUT / "bench.md").write_text(as_markdown(figures, machine))
    return 0


def _machine() -> str:
    """Describe the machine and the versions."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    processor = found.group(1) if found else platform.processor() or platform.machine()
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    versions = f"Python {platform.python_version()}, mitmproxy {version.VERSION}, DuckDB {duckdb.__version__}"
    return (
        f"{processor}, {os.cpu_count()} cores, {platform.system()}; {versions}; load of the machine at the end: {load}."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
