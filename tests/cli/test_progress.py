"""Progress is shown on a terminal if a step takes long, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

pytestmark = pytest.mark.slow

# The step lasts until the script's standard input ends.
SCRIPT = """
import sys
from tapeline.pipeline.cli import progress
progress.PATIENCE_SECONDS = {patience}
with progress.waiting("Counting sheep"):
    sys.stdin.read()
print("done")
"""
END_SECONDS = 30


def on_terminal(patience: float, wait_for: bytes) -> tuple[str, str]:
    """Return what the script prints on stdout, a pipe, and on stderr, a terminal.

    The step ends once the terminal shows `wait_for`.
    """
    ours, theirs = pty.openpty()
    program = [sys.executable, "-c", SCRIPT.format(patience=patience)]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        assert process.stdout is not None
        printed = b""
        while wait_for not in printed:
            printed += os.read(ours, 4096)
        process.stdin.close()
        printed += _rest_of(ours)
        os.close(ours)
        return process.stdout.read().decode(), printed.decode()


def _rest_of(terminal: int) -> bytes:
    """Read a terminal until the process at its other end has closed it."""
    rest = b""
    with suppress(OSError):
        while data := os.read(terminal, 4096):
            rest += data
    return rest


def test_a_long_step_is_shown_on_stderr() -> None:
    stdout, _ = on_terminal(patience=0.1, wait_for=b"Counting sheep")
    assert stdout == "done\n"


def test_a_short_step_is_silent() -> None:
    assert on_terminal(patience=20.0, wait_for=b"") == ("done\n", "")


def test_without_a_terminal_nothing_is_shown() -> None:
    program = [sys.executable, "-c", SCRIPT.format(patience=0)]
    result = subprocess.run(program, input="", capture_output=True, text=True, timeout=END_SECONDS, check=False)
    assert (result.stdout, result.stderr) == ("done\n", "")
