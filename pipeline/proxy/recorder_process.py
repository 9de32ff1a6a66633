"""Runs `tapeline record` as a child process, for as long as this process needs it.

The recorder's own command only waits for the end of its input, which this process holds: so the recorder stops in order
when it should, and also if this process is killed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DataError

READY_SECONDS = 30.0
# It lets running responses end, and seals.
STOP_SECONDS = 60.0
_ADDRESS = re.compile(r"^  (http://\S+) (?:->|is a proxy)")
# It ignores a Ctrl-C in the terminal, on which this process acts.
_WAIT = [
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.stdin.buffer.read()",
]


@contextmanager
def recorder(data: Path, run: str, *options: str) -> Iterator[str]:
    """Run a recorder and yield its address. Raises DataError if it does not start or does not end well."""
    command = [sys.executable, "-P", "-m", "tapeline.pipeline", "record", "--data", str(data), "--run", run, *options]
    process = subprocess.Popen(
        [*command, "--", *_WAIT], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdin is not None
    assert process.stderr is not None
    listener = _Listener(process)
    try:
        try:
            yield listener.address()
        finally:
            process.stdin.close()
            code = process.wait(STOP_SECONDS)
        if code != 0:
            raise DataError(f"The recorder did not end well: {listener.said}")
    except subprocess.TimeoutExpired as error:
        raise DataError(f"The recorder did not end within {STOP_SECONDS:.0f} s: {listener.said}") from error
    finally:
        process.kill()
        process.wait()
        listener.thread.join()
        process.stderr.close()


class _Listener:
    """Hears what a recorder says on stderr, and the address in it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._address = ""
        self._ready = threading.Event()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    @property
    def said(self) -> str:
        return "".join(self._lines).strip() or "it said nothing"

    def address(self) -> str:
        if not self._ready.wait(READY_SECONDS) or not self._address:
            raise DataError(f"The recorder did not start: {self.said}")
        return self._address

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line)
            if found := _ADDRESS.search(line):
                self._address = found.group(1)
                self._ready.set()
        self._ready.set()
