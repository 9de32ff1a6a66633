"""Keeps a sealing process beside a recording: starts it, starts it again if it dies, and lets it finish.

A thread waits for the process, so that the proxy never does. Exchanges that are not sealed stay in the journal: a
recording needs no sealing process, and a dead one costs only time.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

# Pause before a dead process is started again; it grows if the process dies each time.
RESTART_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 600.0


class Sealing:
    """`tapeline seal --follow`, from the start of a recording to its end."""

    def __init__(self, data: Path, log: Path) -> None:
        self._data = data
        self._log = log
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._code: int | None = None
        self._thread = threading.Thread(target=self._run, name="tapeline-sealing", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Let the process know that the recording is over: it seals the rest and ends."""
        with self._lock:
            self._over.set()
            self._close_input()

    def wait(self, seconds: float) -> bool:
        """After `end`, wait for the last pass; return False if it took longer or failed."""
        self._thread.join(seconds)
        return not self._thread.is_alive() and self._code == 0

    def _run(self) -> None:
        quick_ends = 0
        while True:
            began = time.monotonic()
            reason = self._run_process()
            if self._over.is_set():
                return
            lived = time.monotonic() - began
            quick_ends = 0 if lived >= RESTART_SECONDS else quick_ends + 1
            if quick_ends <= 1:
                logger.warning("Tapeline's sealing process %s: recording goes on, it is started again.", reason)
            if quick_ends:
                self._over.wait(min(RESTART_SECONDS * 2 ** (quick_ends - 1), LONGEST_PAUSE_SECONDS) - lived)

    def _run_process(self) -> str:
        """Run the process to its end, and return how it ended."""
        try:
            with self._lock:
                process = self._process = self._start_process()
                if self._over.is_set():
                    self._close_input()
            self._code = process.wait()
        except OSError as error:
            return f"cannot be started ({error})"
        self._close_input()
        return f"ended (code {self._code})"

    def _start_process(self) -> subprocess.Popen[bytes]:
        # In a session of its own, so that a Ctrl-C for the recorder does not end it. It ends when its standard input
        # does. -P: `-m` would put the user's folder before the standard library.
        log = os.open(self._log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "tapeline.pipeline", "seal", "--follow", "--data", str(self._data)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()


def can_seal() -> bool:
    """Whether Tapeline is installed beside the addon."""
    try:
        return importlib.util.find_spec("tapeline.pipeline") is not None
    except ModuleNotFoundError:
        return False
