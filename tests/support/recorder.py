"""Runs `tapeline` as a user does: as a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from click.testing import CliRunner

from tapeline.pipeline.cli import tapeline as tapeline_command

TAPELINE = [sys.executable, "-m", "tapeline.pipeline"]
READY_SECONDS = 30.0
STOP_SECONDS = 60.0
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


def query(data: Path, sql: str) -> list[dict[str, Any]]:
    """The rows of `tapeline sql`, which seals and loads first."""
    result = tapeline("sql", sql, "--data", data, "--format", "json")
    assert result.returncode == 0, result.stderr
    rows: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return rows


def shown(data: Path, exchange_id: str) -> dict[str, Any]:
    """`tapeline show --json`: request, response and what was measured."""
    result = tapeline("show", exchange_id, "--json", "--data", data)
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def documents(data: Path) -> list[dict[str, Any]]:
    """`tapeline show --json` of every exchange, in the order of their start, without a process for each."""
    rows = query(data, "SELECT exchange_id FROM exchanges ORDER BY started_at, exchange_id")
    runner = CliRunner()
    found = []
    for row in rows:
        result = runner.invoke(tapeline_command, ["show", row["exchange_id"], "--json", "--data", str(data)])
        assert result.exit_code == 0, result.output
        found.append(json.loads(result.stdout))
    return found


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

    @property
    def certificate(self) -> Path:
        return self.data / "ca" / "mitmproxy-ca-cert.pem"

    def __enter__(self) -> Self:
        assert self._ready.wait(READY_SECONDS), self.said
        assert self.process.poll() is None, self.said
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
