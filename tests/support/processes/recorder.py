"""Runs `tapeline` as a user does: as a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from click.testing import CliRunner

from tapeline.pipeline.cli.main import main
from tapeline.pipeline.cli.main import tapeline as tapeline_command

TAPELINE = [sys.executable, "-m", "tapeline.pipeline"]
READY_SECONDS = 30.0
STOP_SECONDS = 60.0
ROWS_SECONDS = 20.0
_ADDRESS = re.compile(r"^  (http://\S+) (->|is a proxy)", re.MULTILINE)
# What a developer's own shell may set, and no test is about.
_FOREIGN = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "TAPELINE_DATA", "SSL_CERT_FILE", "OPENAI_BASE_URL")


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what would change the way traffic takes."""
    foreign = {name for known in _FOREIGN for name in (known, known.lower())}
    return {name: value for name, value in os.environ.items() if name not in foreign} | more


def tapeline(
    *arguments: str | Path, timeout: float = 60.0, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*TAPELINE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment or clean_environment(),
        cwd=cwd,
        check=False,
    )


def tapeline_here(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The same in this process, for commands that start no other: a process costs a third of a second."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def query(data: Path, sql: str) -> list[dict[str, Any]]:
    """The rows of `tapeline sql`, which seals and loads first; without a process of its own, as tests ask often."""
    rows: list[dict[str, Any]] = _in_process("sql", sql, "--format", "json", data)["rows"]
    return rows


def query_until(data: Path, sql: str, count: int) -> list[dict[str, Any]]:
    """The same, asked again while the recorder runs until there are so many rows."""
    deadline = time.monotonic() + ROWS_SECONDS
    while len(rows := query(data, sql)) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(rows) == count, rows
    return rows


def shown(data: Path, exchange_id: str) -> dict[str, Any]:
    """`tapeline show --json`: request, response and what was measured."""
    document: dict[str, Any] = _in_process("show", exchange_id, "--json", data)
    return document


def documents(data: Path) -> list[dict[str, Any]]:
    """Every exchange, shown in the order of their start."""
    listed = query(data, "SELECT exchange_id FROM exchanges ORDER BY started_at, exchange_id")
    return [shown(data, row["exchange_id"]) for row in listed]


def _in_process(*arguments: str | Path) -> Any:
    """What a command prints as JSON; the data directory comes last."""
    *words, data = map(str, arguments)
    result = CliRunner().invoke(tapeline_command, [*words, "--data", data])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


class RunningRecorder:
    """`tapeline record` as a process, from its ready line to its end; a context manager.

    `launcher` is put before the command, to start it in surroundings of its own.
    """

    def __init__(
        self,
        data: Path,
        *options: str | Path,
        environment: dict[str, str] | None = None,
        launcher: tuple[str, ...] = (),
    ) -> None:
        self.data = data
        command = [*launcher, *TAPELINE, "record", "--data", str(data), *map(str, options)]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment or clean_environment()
        )
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def said(self) -> str:
        """What it has written to stderr."""
        return "".join(self._lines)

    @property
    def addresses(self) -> list[str]:
        """Where it listens, a URL a mode, in the order of the modes."""
        return [found.group(1) for found in _ADDRESS.finditer(self.said)]

    @property
    def address(self) -> str:
        return self.addresses[0]

    def connect(self) -> socket.socket:
        """A connection to where it listens first."""
        address = urlsplit(self.address)
        return socket.create_connection((str(address.hostname), address.port), timeout=READY_SECONDS)

    @property
    def certificate(self) -> Path:
        return self.data / "ca" / "mitmproxy-ca-cert.pem"

    def __enter__(self) -> Self:
        started = self._ready.wait(READY_SECONDS) and self.process.poll() is None
        if not started:
            self.__exit__(None, None, None)
        assert started, self.said
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._listener.join()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def wait_until_said(self, text: str) -> None:
        """Wait until it has written a text to stderr."""
        deadline = time.monotonic() + READY_SECONDS
        while text not in self.said:
            assert time.monotonic() < deadline, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait for the end; gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)
            if "Ctrl-C ends the recording" in line:
                self._ready.set()
        self._ready.set()
