"""Runs `tapeline serve` as a process, and records through it."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes.recorder import STOP_SECONDS, TAPELINE, clean_environment

_ADDRESS = re.compile(r"OPENAI_BASE_URL=(http://\S+)/v1")


@dataclass
class Served:
    """A running server, and after its end what it said and its exit code."""

    url: str
    process: subprocess.Popen[str]
    said: str = ""
    code: int | None = None

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait for the end; gives the exit code."""
        if self.code is None:
            self.process.send_signal(number)
            self.said += self.process.communicate(timeout=STOP_SECONDS)[1]
            self.code = self.process.returncode
        return self.code


@contextmanager
def serving(data: Path, run: str, *options: str) -> Iterator[Served]:
    """A recording, served as fast as can be unless the options say otherwise."""
    command = [*TAPELINE, "serve", run, "--data", str(data), "--speed", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=clean_environment()) as process:
        try:
            assert process.stderr is not None
            said = ""
            while (found := _ADDRESS.search(said)) is None:
                line = process.stderr.readline()
                assert line, said
                said += line
            served = Served(found.group(1), process, said)
            yield served
            served.stop()
        finally:
            process.kill()
