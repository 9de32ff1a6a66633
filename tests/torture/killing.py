"""Starts recorders one after another on one data directory and ends them by `kill -9`, with what works beside them.

What dies, and when, is decided by random numbers of a seed. The sealing process is the recorder's child; it lives in
a session of its own and outlives the recorder until it has sealed the rest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Self
from urllib.parse import urlsplit

from tests.support.processes.recorder import TAPELINE, RunningRecorder, clean_environment
from tests.torture.books import Books

KINDS = ("recorder", "sealing", "recorder and sealing", "load")
_BEFORE_KILL_SECONDS = (0.2, 1.2)
# The last pass of a sealing whose recorder died, and a load from its start to its end, take about so long.
_PASS_SECONDS = 0.4
_LOAD_SECONDS = (0.2, 0.9)
_BETWEEN_SIGNALS_SECONDS = 0.2
_END_SECONDS = 60.0
_STEP_SECONDS = 0.02


class Killer:
    """Keeps a recorder running, and kills; a context manager that ends what is left."""

    def __init__(self, books: Books, data: Path, upstream: str, seed: int) -> None:
        self.kills: Counter[str] = Counter()
        self._books = books
        self._data = data
        self._upstream = upstream
        self._random = Random(seed)
        self._lives = count()
        self._recorder: RunningRecorder | None = None
        self._orphans: list[int] = []
        self._listening: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop()
        for pid in self._orphans:
            wait_for_end(pid)

    def listening(self) -> tuple[int, int] | None:
        """The life of the recorder that listens, and its port."""
        return self._listening

    def kill(self, kind: str) -> None:
        """Let all work for a while, kill what `kind` names, and see to it that there is a recorder again."""
        if "sealing" in kind and self._sealing() is None:
            # A dead one is started again, but not soon.
            self._stop()
            self._start()
        time.sleep(self._random.uniform(*_BEFORE_KILL_SECONDS))
        sealing = self._sealing()
        if kind == "load":
            self._kill_load()
        elif kind == "sealing":
            _kill(sealing)
        else:
            self._kill_recorder()
            if kind == "recorder and sealing":
                time.sleep(self._random.uniform(0, _PASS_SECONDS))
                _kill(sealing)
            elif sealing is not None:
                self._orphans.append(sealing)
            self._start()
        self.kills[kind] += 1

    def _sealing(self) -> int | None:
        assert self._recorder is not None
        return sealing_process(self._recorder.process.pid)

    def _start(self) -> None:
        self._recorder = RunningRecorder(self._data, "--upstream", self._upstream).__enter__()
        _wait_until(lambda: self._sealing() is not None, "nothing seals beside the recorder")
        port = urlsplit(self._recorder.address).port
        assert port is not None
        self._listening = (next(self._lives), port)

    def _stop(self) -> None:
        """Stop the recorder in order, and at once: a second signal asks it not to wait for running answers."""
        if self._recorder is not None:
            self._note_end(self._books.stopped_at)
            self._recorder.process.send_signal(signal.SIGINT)
            time.sleep(_BETWEEN_SIGNALS_SECONDS)
            self._recorder.__exit__(None, None, None)
            self._recorder = None

    def _kill_recorder(self) -> None:
        assert self._recorder is not None
        self._note_end(self._books.killed_at)
        self._recorder.process.kill()
        self._recorder.process.wait()
        self._recorder.__exit__(None, None, None)
        self._recorder = None

    def _note_end(self, ends: dict[int, float]) -> None:
        if self._listening is not None:
            life, _ = self._listening
            self._listening = None
            ends[life] = time.monotonic()

    def _kill_load(self) -> None:
        command = [*TAPELINE, "load", "--data", str(self._data)]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, stdout=quiet, stderr=quiet, env=clean_environment()) as process:
            time.sleep(self._random.uniform(*_LOAD_SECONDS))
            process.kill()


def sealing_process(recorder: int) -> int | None:
    """The process that seals beside a recorder: its child."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            _, parent = _state_and_parent(int(folder.name))
            if parent == recorder and b"\0seal\0" in (folder / "cmdline").read_bytes():
                return int(folder.name)
    return None


def wait_for_end(pid: int) -> None:
    """Wait for the end of a process that is not our child; one that nobody reaps has ended, too."""
    with suppress(OSError):
        _wait_until(lambda: _state_and_parent(pid)[0] == "Z", f"process {pid} does not end")


def _kill(pid: int | None) -> None:
    assert pid is not None
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)


def _wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(_STEP_SECONDS)


def _state_and_parent(pid: int) -> tuple[str, int]:
    # The command's name stands in brackets before them, and may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return fields[0], int(fields[1])
