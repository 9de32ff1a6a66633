"""How long whole processes take, from their start to their end or to their ready line."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tests.bench import made
from tests.bench.figures import Figure, of_one
from tests.bench.plan import Plan
from tests.support.processes.recorder import RunningRecorder, clean_environment

_PART = "Start-up: whole processes, medians"
SMALL = 500


def measure(plan: Plan, folder: Path) -> list[Figure]:
    """Measure all figures of this part."""
    times = 3 if plan.is_quick else 9
    data = DataDirectory(folder / "small")
    data.create()
    made.make(data, SMALL, with_content=True, days=2)
    command = str(Path(sys.executable).with_name("tapeline"))

    def run(*arguments: str) -> float:
        began = time.perf_counter()
        subprocess.run([command, *arguments], check=True, capture_output=True, env=clean_environment())
        return time.perf_counter() - began

    run("report", "usage", "--data", str(data.root))  # loads the dataset, so that no later run does
    figures = [
        of_one(_PART, "tapeline --help", statistics.median(run("--help") for _ in range(times)), "s", "<= 0.25"),
        of_one(
            _PART,
            f"tapeline report usage, {SMALL} exchanges",
            statistics.median(run("report", "usage", "--data", str(data.root)) for _ in range(times)),
            "s",
            "<= 0.8",
        ),
        of_one(_PART, "recorder ready", statistics.median(_ready(folder, at) for at in range(times)), "s", "<= 1.5"),
    ]
    plan.show(*figures)
    return figures


def _ready(folder: Path, number: int) -> float:
    began = time.perf_counter()
    with RunningRecorder(folder / f"ready-{number}", "--upstream", "http://127.0.0.1:9"):
        return time.perf_counter() - began
