"""Writes the journal from a thread of its own, so that the proxy never waits for a disk, and goes on after any fault.

It gathers for `FLUSH_SECONDS` and writes what there is in one transaction. What the disk does not take waits in the
backlog, which has a limit; what it gives up is counted, in the journal or, for as long as that cannot be written, in
the ledger. Where the files are, and how they come back when somebody removed them, is the station's business.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from contextlib import suppress
from typing import Any

from .journal import last_commit, write_entries
from .recorder_files import RecorderFiles
from .write_buffer import WriteBatch, WriteBuffer

logger = logging.getLogger(__name__)

# Chunks are gathered this long before they are written: half of what a kill may cost (200 ms), less the write itself.
FLUSH_SECONDS = 0.05
# A transaction holds about so much: what a flush gathers, but for large bodies, and little beside a full backlog.
PORTION_BYTES = 8 * 1024 * 1024
# What waits for a disk that does not take it, at most. What is above it is given up and counted.
MAX_PENDING_BYTES = 256 * 1024 * 1024
# How often a disk that does not take it is tried again, and a removed journal is looked for while nothing passes.
RETRY_SECONDS = 1.0
# What SQLite says of a journal that no retry makes whole again: it lacks its tables, is malformed, or no database.
_BROKEN = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class JournalWriter:
    """Takes entries and writes them. `add` never waits for a disk."""

    def __init__(self, station: RecorderFiles, *, max_pending_bytes: int = MAX_PENDING_BYTES) -> None:
        """Make the journal. Raises OSError or sqlite3.Error."""
        self._station = station
        self._connection = station.open()
        self._commit = last_commit(self._connection)
        self._backlog = WriteBuffer(max_pending_bytes)
        self._successors = 1
        self._faulty = False
        self._overflowed = False
        self._met_fault = False
        self._unwritten = 0
        self._deadline = 0.0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tapeline-journal", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Exchanges that are not recorded so far, or not wholly."""
        return self._backlog.lost + self._unwritten

    def add(self, kind: str, number: int, value: Any) -> None:
        """Queue an entry, as `tapeline_journal.write_entries` describes it."""
        if not self._backlog.add((kind, number, value)) and not self._overflowed:
            self._overflowed = True
            logger.error("Tapeline cannot keep more in memory: what is not recorded from now on is counted.")
        if not self._wake.is_set():
            self._wake.set()

    def count_loss(self, reason: str, exchanges: int, size: int) -> None:
        """Count what is not recorded."""
        self._backlog.count(reason, exchanges, size)
        self._wake.set()

    def count_fault(self, reason: str, number: int | None = None) -> None:
        """Count an exchange that met a fault, and keep nothing of it that is not written; nothing more may be added."""
        if number is None:
            self._backlog.count(reason, 1, 0)
        else:
            self._backlog.give_up(number, reason)
        if not self._met_fault:
            # A fault that comes back with every request is no news.
            self._met_fault = True
            logger.error(
                "Tapeline met a fault of its own (%s): traffic goes on, what is not recorded is counted.", reason
            )
        self._wake.set()

    def close(self, seconds: float = 10.0) -> bool:
        """Write what waits and close the journal; False when the disk did not take all of it in that time."""
        self._deadline = time.monotonic() + seconds
        self._closing.set()
        self._wake.set()
        self._thread.join(seconds + RETRY_SECONDS)
        if self._thread.is_alive():
            # The lock stays: until this process ends, the thread may still write.
            note = threading.Thread(target=self._note_missing, daemon=True)
            note.start()
            note.join(RETRY_SECONDS)
            logger.error("Tapeline could not write the end of its journal: the disk has not answered.")
            return False
        return not self._backlog

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(RETRY_SECONDS)
            self._closing.wait(RETRY_SECONDS if self._faulty else FLUSH_SECONDS)
            self._wake.clear()
            self._flush()
        self._flush()
        while self._backlog and time.monotonic() < self._deadline:
            time.sleep(FLUSH_SECONDS)
            self._flush()
        if self._backlog:
            self._note_missing()
            self._unwritten = self._backlog.waiting
            logger.error("Tapeline could not write %d exchanges: the disk did not take them.", self._unwritten)
        with suppress(sqlite3.Error):
            self._connection.close()
        self._station.leave()

    def _flush(self) -> None:
        try:
            if not self._station.is_whole():
                self._mend()
            portion = None
            while portion is None or portion.leaves_more:
                portion = self._backlog.take(PORTION_BYTES)
                if portion:
                    self._write_or_put_back(portion)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread has to live on and try again
            self._note_fault(error)
        else:
            self._note_recovery()

    def _write_or_put_back(self, portion: WriteBatch) -> None:
        try:
            self._write(portion)
        except Exception as error:
            self._backlog.put_back(portion)
            if _is_broken(error):
                self._move_on(error)
            elif _is_of_the_disk(error) or not portion.stretches:
                raise
            else:
                self._write_apart(list(portion.stretches))
        else:
            self._backlog.written(portion)

    def _write_apart(self, numbers: list[int]) -> None:
        """Write exchange by exchange, and give up those that cannot be written on any disk."""
        for number in numbers:
            portion = self._backlog.take_one(number)
            try:
                self._write(portion)
            except Exception as error:
                self._backlog.put_back(portion)
                if _is_broken(error) or _is_of_the_disk(error):
                    raise
                self._backlog.give_up(number, f"journal: {error!r}", goes_on=True)
            else:
                self._backlog.written(portion)

    def _write(self, portion: WriteBatch) -> None:
        connection, commit = self._connection, self._commit + 1
        connection.execute("BEGIN IMMEDIATE")
        try:
            write_entries(connection, commit, portion.entries(), portion.losses)
            if self._faulty:
                self._station.ledger.note(commit, self._backlog.missing(besides_taken=True))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._commit = commit

    def _mend(self) -> None:
        try:
            self._connection = self._station.mend(self._connection)
        except (sqlite3.DatabaseError, FileExistsError) as error:
            if not _is_broken(error):
                raise
            self._move_on(error)
        else:
            logger.warning("Somebody removed files of Tapeline's journal: they were made again, with what they held.")

    def _move_on(self, error: Exception) -> None:
        """Go on in a new journal, and count what goes on in this one."""
        station = self._station.successor(self._successors + 1)
        connection = station.open()
        self._successors += 1
        reason = f"journal: {error}"
        self._backlog.give_up_begun(reason)
        with suppress(sqlite3.Error):
            self._connection.close()
        self._station.abandon()
        self._station, self._connection, self._commit = station, connection, 0
        self._wake.set()
        logger.error("Tapeline's journal cannot be used any more (%s): recording goes on in a new one.", error)

    def _note_fault(self, error: Exception) -> None:
        self._backlog.obstacle = f"journal: {error}"
        self._note_missing()
        if not self._faulty:
            self._faulty = True
            logger.error("Tapeline cannot write its journal (%s): traffic goes on, recording waits.", error)

    def _note_recovery(self) -> None:
        if self._faulty:
            self._station.ledger.clear()
            logger.warning("Tapeline writes its journal again.")
        self._faulty = self._overflowed = False

    def _note_missing(self) -> None:
        self._station.ledger.note(self._commit, self._backlog.missing())


def _is_broken(error: Exception) -> bool:
    """Whether the journal is beyond use, or its name is another's."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, FileExistsError) or (code is not None and code & 0xFF in _BROKEN)


def _is_of_the_disk(error: Exception) -> bool:
    """Whether the error may go away by itself; any other one lies in what is written."""
    return isinstance(error, OSError | sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError
