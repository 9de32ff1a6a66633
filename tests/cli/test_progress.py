"""Progress is shown on a terminal if a step takes long, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import time
from tapeline.pipeline.cli import progress
progress.PATIENCE_SECONDS = {patience}
with progress.waiting("Counting sheep"):
    time.sleep({seconds})
print("done")
"""
END_SECONDS = 30


def on_terminal(patience: float, seconds: float) -> tuple[str, str]:
    """Return what the script prints on stdout, a pipe, and on stderr, a terminal."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-c", SCRIPT.format(patience=patience, seconds=seconds)]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=theirs, text=True, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    printed: list[bytes] = []
    listener = threading.Thread(target=_listen, args=(ours, printed))
    listener.start()
    stdout, _ = process.communicate(timeout=END_SECONDS)
    listener.join(END_SECONDS)
    os.close(ours)
    return stdout, b"".join(printed).decode()


def _listen(terminal: int, printed: list[bytes]) -> None:
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            return
        if not data:
            return
        printed.append(data)


def test_a_long_step_is_shown_on_stderr() -> None:
    stdout, stderr = on_terminal(patience=0.1, seconds=1.0)
    assert stdout == "done\n"
    assert "Counting sheep" in stderr


def test_a_short_step_is_silent() -> None:
    assert on_terminal(patience=20.0, seconds=0.0) == ("done\n", "")


def test_without_a_terminal_nothing_is_shown() -> None:
    program = [sys.executable, "-c", SCRIPT.format(patience=0.1, seconds=0.5)]
    result = subprocess.run(program, capture_output=True, text=True, timeout=END_SECONDS, check=False)
    assert (result.stdout, result.stderr) == ("done\n", "")
