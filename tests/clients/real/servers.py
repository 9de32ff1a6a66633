"""Runs a server that nobody here wrote, from an environment of its own that `make test-real` makes.

What is asked of it, and what must be recorded then, is left to the tests and to `calls`.
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
# What uvicorn, which both servers run on, says when it takes requests; the port is its own choice.
_ADDRESS = re.compile(r"Uvicorn running on (http://\S+)")


def program(environment: str, name: str) -> str:
    """The path of a program in one of the environments."""
    return str(_folder(environment) / "bin" / name)


def needs(environment: str) -> None:
    """Skips the module whose server is not installed."""
    if not (_folder(environment) / ".ready").exists():
        pytest.skip(f"{environment} is not installed here: `make test-real` does it", allow_module_level=True)


class RealServer:
    """A server as a process, from its first request to its end; a context manager."""

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
        """End it at once, in the middle of what it does."""
        self._process.kill()
        self._process.wait()

    def _wait_for_address(self) -> str:
        deadline = time.monotonic() + READY_SECONDS
        while (found := _ADDRESS.search(self._said())) is None:
            assert self._process.poll() is None, self._said()
            assert time.monotonic() < deadline, self._said()
            time.sleep(0.1)
        return found.group(1)

    def _said(self) -> str:
        return self._log.read_text("utf-8", "replace")


def _folder(environment: str) -> Path:
    return ROOT / f".venv-{environment}"
