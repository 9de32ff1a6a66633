"""Passes an exchange through a recorder, seals it, and tells the most memory that each had, as Linux counts it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients.wire import Road, ask
from tests.support.processes.recorder import RunningRecorder, clean_environment, query
from tests.support.servers.scripted import Conversation, ScriptedServer

#: An answer that is nothing special.
COMPLETION = b'{"object":"chat.completion","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}'

SEAL_SECONDS = 100.0
_STATUS = "/proc/{}/status"
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_SEAL = """
import sys
from pathlib import Path
from tapeline.pipeline.cli.main import main
code = main(["seal", "--data", sys.argv[1]])
print(Path("/proc/self/status").read_text())
sys.exit(code)
"""


@dataclass(frozen=True)
class Passed:
    """An exchange that went through a recorder and was sealed; peaks are bytes of memory."""

    row: dict[str, Any]
    recorder_peak: int
    sealing_peak: int


def passed(
    data: Path,
    request: bytes,
    response: bytes = COMPLETION,
    *,
    request_coding: str = "",
    content_type: str = "application/json",
    **answered: str,
) -> Passed:
    """Send both through a recorder that leaves sealing to us; each side must get what the other sent."""
    received = []

    def script(conversation: Conversation) -> None:
        received.append(conversation.read_body())
        conversation.answer(response, content_type, 200, **answered)

    with (
        ScriptedServer(script) as server,
        RunningRecorder(data, "--upstream", server.url, "--set", "tapeline_seal=false") as recorder,
    ):
        headers = {"Content-Encoding": request_coding} if request_coding else {}
        connection = Road(recorder, server, tls=False).connect()
        assert ask(connection, request, **headers) == (200, response)
        connection.close()
        recorder_peak = peak_memory(recorder.process.pid)
    assert received == [request]
    sealing_peak = seal_apart(data)
    (row,) = query(data, "SELECT * FROM exchanges")
    assert (row["request_bytes"], row["response_bytes"]) == (len(request), len(response))
    return Passed(row, recorder_peak, sealing_peak)


def peak_memory(process: int) -> int:
    """The most memory that a running process has had, in bytes."""
    return _peak(_status_of(process))


def seal_apart(data: Path) -> int:
    """Seal all that recorders have left, in a process of its own; gives the most memory that it had, in bytes."""
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
    return _peak(result.stdout)


def _status_of(process: int | str) -> str:
    status = Path(_STATUS.format(process))
    if not status.is_file():
        pytest.skip("this system does not tell the memory of a process in /proc")
    return status.read_text()


def _peak(status: str) -> int:
    found = _PEAK.search(status)
    assert found is not None, status
    return int(found.group(1)) * 1024
