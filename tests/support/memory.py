"""Tells the most memory that processes have had, as Linux counts it, and seals in a process where it can be told."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from .recorder import clean_environment

SEAL_SECONDS = 100.0
_STATUS = "/proc/{}/status"
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_SEAL = """
import sys, time
from pathlib import Path
from tapeline.pipeline.cli import main
began = time.monotonic()
code = main(["seal", "--data", sys.argv[1]])
seconds = time.monotonic() - began
print(seconds, Path("/proc/self/status").read_text(), sep="\\n")
sys.exit(code)
"""


@dataclass(frozen=True)
class Sealing:
    """What a sealing took: its own process's time, and the most memory that it had, in bytes."""

    seconds: float
    peak: int


def peak_memory(process: int) -> int:
    """The most memory that a running process has had, in bytes."""
    return _peak(_status_of(process))


def seal_apart(data: Path) -> Sealing:
    """Seal all that recorders have left, in a process of its own."""
    _status_of("self")
    result = subprocess.run(
        [sys.executable, "-c", _SEAL, str(data)],
        capture_output=True,
        text=True,
        timeout=SEAL_SECONDS,
        env=clean_environment(),
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    _sealed, seconds, status = result.stdout.split("\n", 2)
    return Sealing(float(seconds), _peak(status))


def _status_of(process: int | str) -> str:
    status = Path(_STATUS.format(process))
    if not status.is_file():
        pytest.skip("this system does not tell the memory of a process in /proc")
    return status.read_text()


def _peak(status: str) -> int:
    found = _PEAK.search(status)
    assert found is not None, status
    return int(found.group(1)) * 1024
