"""Runs mitmproxy's own programs with the addon, as somebody does who has no Tapeline or does not use its command."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.places import ROOT
from tests.support.processes.recorder import READY_SECONDS, STOP_SECONDS, clean_environment

ADDON = ROOT / "addons" / "recorder.py"
_ADDRESS = re.compile(r"listening at (?:http://)?(127\.0\.0\.1:\d+)")
_RECORDS = "Tapeline records to"


class RunningMitmproxy:
    """`mitmdump` or `mitmweb` with the addon before an upstream, from its first ready line to its end."""

    def __init__(
        self,
        program: Path,
        upstream: str,
        data: Path,
        *settings: str,
        scripts: tuple[Path, ...] = (),
        **environment: str,
    ) -> None:
        command = with_addon(program, data, *settings, "confdir=" + str(data.parent / "confdir"))
        self.process = subprocess.Popen(
            [*command, *(f"--scripts={script}" for script in scripts), "--mode", f"reverse:{upstream}@127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=data.parent,
            env=clean_environment(PYTHONUNBUFFERED="1", **environment),
        )
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def said(self) -> str:
        return "".join(self._lines)

    @property
    def address(self) -> str:
        """Where the reverse proxy listens."""
        found = _ADDRESS.search(self.said)
        assert found is not None, self.said
        return f"http://{found.group(1)}"

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
            self.process.kill()
            self.process.wait()
        self._listener.join()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def wait_until_said(self, text: str) -> None:
        """Wait until it has written a text."""
        deadline = time.monotonic() + READY_SECONDS
        while text not in self.said:
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def stop(self) -> int:
        """Ask it to end; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)
            if _RECORDS in self.said and _ADDRESS.search(self.said):
                self._ready.set()
        self._ready.set()


def with_addon(program: Path, data: Path, *settings: str) -> Sequence[str]:
    """The command line of a program with the addon, `name=value` settings among them."""
    options = [part for setting in (f"tapeline_data={data}", *settings) for part in ("--set", setting)]
    return [str(program), "-s", str(ADDON), *options]
