"""How much memory a process holds, and which processes it has started, as Linux tells it in /proc."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.processes.recorder import RunningRecorder

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("this system does not show a process's memory in /proc")
    found = _RESIDENT.search(status.read_text())
    assert found is not None
    return int(found.group(1)) * KIBIBYTE


def sealing_processes(recorder: RunningRecorder) -> set[int]:
    """Processes that the recorder has started."""
    tasks = Path(f"/proc/{recorder.process.pid}/task")
    if not tasks.is_dir():
        pytest.skip("this system does not list a process's children in /proc")
    return {int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()}
