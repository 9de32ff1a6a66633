"""Disks that fail on purpose: a recorder's files whose journal takes no writes, or takes for ever."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, override

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.recorder_files import RecorderFiles

WAIT_SECONDS = 20.0


@dataclass
class Disk:
    """What a disk does to transactions."""

    full: bool = True
    hangs: threading.Event = field(default_factory=threading.Event)
    #: Called with each commit, which it has to do.
    around_commit: Callable[[Callable[[], Any]], Any] | None = None
    asked: threading.Event = field(default_factory=threading.Event)

    def wait_until_asked(self) -> None:
        """Until the next transaction begins."""
        self.asked.clear()
        assert self.asked.wait(WAIT_SECONDS)

    def answer(self) -> None:
        self.asked.set()
        deadline = time.monotonic() + WAIT_SECONDS
        while self.hangs.is_set():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")


class FaultyFiles(RecorderFiles):
    """The files of a recorder, with the journal on such a disk."""

    def __init__(self, directory: DataDirectory, about: dict[str, str]) -> None:
        super().__init__(directory, about)
        self.disk = Disk()

    @override
    def open(self) -> sqlite3.Connection:
        sound = super().open()
        faulty = sqlite3.connect(self._journal, isolation_level=None, check_same_thread=False, factory=_Connection)
        faulty.disk = self.disk
        faulty.execute("SELECT 1 FROM about").fetchall()
        sound.close()  # not before: the last connection takes the write-ahead log with it
        return faulty


class _Connection(sqlite3.Connection):
    disk: Disk

    @override
    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql.startswith("BEGIN"):
            self.disk.answer()
        if sql == "COMMIT" and self.disk.around_commit is not None:
            cursor: sqlite3.Cursor = self.disk.around_commit(lambda: super(_Connection, self).execute(sql))
            return cursor
        return super().execute(sql, *parameters)
