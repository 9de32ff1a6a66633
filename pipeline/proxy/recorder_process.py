"""Runs `tapeline record` as a child process, for as long as this process needs it.

The recorder's own command only waits for the end of its input, which this process holds: so the recorder stops in order
when it should, and also if this process is killed.
"""

from __future__ import annotations

import json
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
    command = [sys.executable, "-P", "-m", "tapeline.pipeline", "record", "--announce"]
    command += ["--data", str(data), "--run", run, *options]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*command, "--", *_WAIT], stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8"
    )
    assert process.stdin is not None
    listener = _Listener(process)
    try:
        try:
            yield listener.address()
        finally:
            process.stdin.close()
            code = process.wait(STOP_SECONDS)
        if code != 0:
            raise DataError(f"The recorder did not end well: {listener.messages}")
    except subprocess.TimeoutExpired as error:
        raise DataError(f"The recorder did not end within {STOP_SECONDS:.0f} s: {listener.messages}") from error
    finally:
        process.kill()
        process.wait()
        listener.close()


class _Listener:
    """Reads the address that a recorder announces on stdout, and keeps its messages on stderr."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._announced, self._errors = process.stdout, process.stderr
        self._lines: list[str] = []
        self._address: str | None = None
        self._is_announced = threading.Event()
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read_address, self._read_errors)]
        for thread in self._threads:
            thread.start()

    @property
    def messages(self) -> str:
        """All that the recorder has printed to stderr."""
        return "".join(self._lines).strip() or "it printed nothing"

    def address(self) -> str:
        """Wait for the address. Raises DataError if the recorder does not announce one."""
        if not self._is_announced.wait(READY_SECONDS) or self._address is None:
            raise DataError(f"The recorder did not start: {self.messages}")
        return self._address

    def close(self) -> None:
        """Wait until the ended recorder's output is read."""
        for thread in self._threads:
            thread.join()
        self._announced.close()
        self._errors.close()

    def _read_address(self) -> None:
        if line := self._announced.readline():
            self._address = json.loads(line)["addresses"][0]
        self._is_announced.set()

    def _read_errors(self) -> None:
        self._lines.extend(self._errors)
