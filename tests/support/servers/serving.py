"""Runs `tapeline serve` as a process."""

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
    """A running server with what it printed so far; `code` is its exit code, None while it runs."""

    url: str
    process: subprocess.Popen[str]
    output: str = ""
    code: int | None = None

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        if self.code is None:
            self.process.send_signal(number)
            self.output += self.process.communicate(timeout=STOP_SECONDS)[1]
            self.code = self.process.returncode
        return self.code


@contextmanager
def serving(data: Path, run: str, *options: str) -> Iterator[Served]:
    """Serve a recording, without waiting unless the options say otherwise."""
    command = [*TAPELINE, "serve", run, "--data", str(data), "--speed", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=clean_environment()) as process:
        try:
            assert process.stderr is not None
            output = ""
            while (address := _ADDRESS.search(output)) is None:
                line = process.stderr.readline()
                assert line, output
                output += line
            served = Served(address.group(1), process, output)
            yield served
            served.stop()
        finally:
            process.kill()
