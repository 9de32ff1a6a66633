"""The files of one recorder in a data directory: its lock, its journal, and the ledger beside the journal.

They are made together, and made again if somebody removes one while the recorder runs: SQLite would go on writing to a
file without a name, and sealing takes a recorder without a lock for a dead one.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from .data_directory import DataDirectory
from .journal import Lock, create_journal, move_journal
from .loss_ledger import Ledger, has_name

# A process that checks the lock takes it for a moment.
LOCK_SECONDS = 1.0


class RecorderFiles:
    """The lock, journal and ledger of a recorder; `about` is stored in the journal. Methods raise OSError and
    sqlite3.Error."""

    def __init__(self, directory: DataDirectory, about: dict[str, str]) -> None:
        recorder_id = about["recorder_id"]
        self.ledger = Ledger(directory.ledger(recorder_id), about["run"])
        self._directory = directory
        self._about = about
        self._journal = directory.journal(recorder_id)
        self._lock = Lock(directory.recorder_lock(recorder_id))
        self._files: dict[Path, os.stat_result] = {}

    def open(self) -> sqlite3.Connection:
        """Make the files, and connect to the journal."""
        self._directory.create()
        try:
            self._make_lock_and_ledger()
            return self._watched(create_journal(self._journal, self._about))
        except BaseException:
            self.leave()
            raise

    def is_whole(self) -> bool:
        """Whether all files still have their names."""
        return self._lock.is_there() and self.ledger.is_there() and self._has_journal()

    def restore(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Make removed files again, and return the connection to continue with. Raises FileExistsError if a name is
        taken.

        A removed journal can still be read through its open connection; its content goes to a new file of the same
        name.
        """
        self._directory.create()
        self._make_lock_and_ledger()
        if self._has_journal():
            return connection
        if self._journal.exists() and not has_name(self._files[self._journal], self._journal):
            raise FileExistsError(f"{self._journal} is somebody else's by now")
        return self._watched(move_journal(connection, self._journal))

    def successor(self, number: int) -> RecorderFiles:
        """Return files under a new name, for when these cannot be used any more."""
        return RecorderFiles(self._directory, {**self._about, "recorder_id": f"{self._about['recorder_id']}-{number}"})

    def leave(self) -> None:
        """Release the lock: nobody writes here any more."""
        self.ledger.close()
        self._lock.release()

    def abandon(self) -> None:
        """Leave a journal that cannot be used; the losses in its ledger are counted elsewhere from now on."""
        self.ledger.remove()
        self._lock.release()

    def _make_lock_and_ledger(self) -> None:
        # Before the journal, because a journal without a held lock counts as a dead recorder's.
        if not self._lock.is_there():
            self._lock.release()
            if not self._lock.take(LOCK_SECONDS):
                raise BlockingIOError(f"{self._lock.path} is held by somebody else")
        if not self.ledger.is_there():
            self.ledger.open()

    def _has_journal(self) -> bool:
        return all(has_name(status, path) for path, status in self._files.items())

    def _watched(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        write_ahead_log = self._journal.with_name(f"{self._journal.name}-wal")
        try:
            self._files = {path: path.stat() for path in (self._journal, write_ahead_log)}
        except OSError:
            connection.close()
            raise
        return connection
