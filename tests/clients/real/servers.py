"""Runs a third-party server from an environment of its own, which `make test-real` creates.

The tests and `calls` send the requests and check what is recorded.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.places import ROOT
from tests.support.processes.recorder import clean_environment

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
# Both servers run on uvicorn, which prints this when it accepts requests; it chooses the port.
_ADDRESS = re.compile(r"Uvicorn running on (http://\S+)")


def program(environment: str, name: str) -> str:
    """Return the path of a program in one of the environments."""
    return str(_folder(environment) / "bin" / name)


def needs(environment: str) -> None:
    """Skip the test module if its server is not installed."""
    if not (_folder(environment) / ".ready").exists():
        pytest.skip(f"{environment} is not installed here: `make test-real` installs it", allow_module_level=True)


class RealServer:
    """A server in a process of its own; use it as a context manager."""

    def __init__(self, command: Sequence[str | Path], log: Path, **environment: str) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=clean_environment(**environment)
            )
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self.url = self._wait_for_address()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """Kill the server in the middle of its work."""
        self._process.kill()
        self._process.wait()

    def _wait_for_address(self) -> str:
        deadline = time.monotonic() + READY_SECONDS
        while (address := _ADDRESS.search(self._output())) is None:
            assert self._process.poll() is None, self._output()
            assert time.monotonic() < deadline, self._output()
            time.sleep(0.1)
        return address.group(1)

    def _output(self) -> str:
        return self._log.read_text("utf-8", "replace")


def _folder(environment: str) -> Path:
    return ROOT / f".venv-{environment}"
