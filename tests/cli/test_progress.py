"""What takes long says so on a terminal; what does not, and where nobody looks, is silent."""

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
    """What the script says on stdout, a pipe, and on stderr, a terminal."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-c", SCRIPT.format(patience=patience, seconds=seconds)]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=theirs, text=True, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    heard: list[bytes] = []
    listener = threading.Thread(target=_listen, args=(ours, heard))
    listener.start()
    stdout, _ = process.communicate(timeout=END_SECONDS)
    listener.join(END_SECONDS)
    os.close(ours)
    return stdout, b"".join(heard).decode()


def _listen(terminal: int, heard: list[bytes]) -> None:
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            return
        if not data:
            return
        heard.append(data)


def test_what_takes_long_says_so_on_stderr() -> None:
    stdout, stderr = on_terminal(patience=0.1, seconds=1.0)
    assert stdout == "done\n"
    assert "Counting sheep" in stderr


def test_what_is_quick_is_silent() -> None:
    assert on_terminal(patience=20.0, seconds=0.0) == ("done\n", "")


def test_where_nobody_looks_nothing_is_said() -> None:
    program = [sys.executable, "-c", SCRIPT.format(patience=0.1, seconds=0.5)]
    result = subprocess.run(program, capture_output=True, text=True, timeout=END_SECONDS, check=False)
    assert (result.stdout, result.stderr) == ("done\n", "")
