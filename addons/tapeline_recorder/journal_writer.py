"""Writes the journal in a thread, so that the proxy never waits for a disk, and goes on after any fault.

It gathers entries for `FLUSH_SECONDS` and writes them in one transaction. Entries that the disk does not take wait in
the write buffer, which has a limit. Dropped entries are counted in the journal, or in the ledger while the journal
cannot be written. `recorder_files` knows where the files are and makes them again if somebody removes them.
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

# Chunks are gathered this long before they are written. A kill may cost 200 ms: half of it, less the write itself.
FLUSH_SECONDS = 0.05
# Size of a transaction: usually all that a flush gathers, and little beside a full buffer.
BATCH_BYTES = 8 * 1024 * 1024
# The most that waits for a disk. Entries above it are dropped and counted.
MAX_PENDING_BYTES = 256 * 1024 * 1024
# How often a full disk is tried again, and how often a removed journal is noticed while no traffic passes.
RETRY_SECONDS = 1.0
# SQLite's errors for a journal that no retry repairs: tables missing, malformed, not a database.
_BROKEN = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class JournalWriter:
    """Takes entries and writes them to the journal. `add` never waits for a disk."""

    def __init__(self, files: RecorderFiles, *, max_pending_bytes: int = MAX_PENDING_BYTES) -> None:
        """Make the journal. Raises OSError or sqlite3.Error."""
        self._files = files
        self._connection = files.open()
        self._commit = last_commit(self._connection)
        self._buffer = WriteBuffer(max_pending_bytes)
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
        """Exchanges that are lost so far, or are not complete."""
        return self._buffer.lost + self._unwritten

    def add(self, kind: str, number: int, value: Any) -> None:
        """Queue an entry, as `journal.write_entries` describes it."""
        if not self._buffer.add((kind, number, value)) and not self._overflowed:
            self._overflowed = True
            logger.error("Tapeline cannot keep more in memory: what is not recorded from now on is counted.")
        if not self._wake.is_set():
            self._wake.set()

    def count_loss(self, reason: str, exchanges: int, size: int) -> None:
        """Count exchanges and bytes that are not recorded."""
        self._buffer.count(reason, exchanges, size)
        self._wake.set()

    def count_fault(self, reason: str, number: int | None = None) -> None:
        """Count an exchange that met a fault, and drop its entries that are not written; no more may be added."""
        if number is None:
            self._buffer.count(reason, 1, 0)
        else:
            self._buffer.give_up(number, reason)
        if not self._met_fault:
            # A fault that every request meets is logged once.
            self._met_fault = True
            logger.error(
                "Tapeline met a fault of its own (%s): traffic goes on, what is not recorded is counted.", reason
            )
        self._wake.set()

    def close(self, seconds: float = 10.0) -> bool:
        """Write all waiting entries and close the journal; return False if the disk did not take all in time."""
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
        return not self._buffer

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(RETRY_SECONDS)
            self._closing.wait(RETRY_SECONDS if self._faulty else FLUSH_SECONDS)
            self._wake.clear()
            self._flush()
        self._flush()
        while self._buffer and time.monotonic() < self._deadline:
            time.sleep(FLUSH_SECONDS)
            self._flush()
        if self._buffer:
            self._note_missing()
            self._unwritten = self._buffer.waiting
            logger.error("Tapeline could not write %d exchanges: the disk did not take them.", self._unwritten)
        with suppress(sqlite3.Error):
            self._connection.close()
        self._files.leave()

    def _flush(self) -> None:
        try:
            if not self._files.is_whole():
                self._restore()
            batch = None
            while batch is None or batch.leaves_more:
                batch = self._buffer.take(BATCH_BYTES)
                if batch:
                    self._write_or_put_back(batch)
        except Exception as error:  # noqa: BLE001 - the thread has to go on and try again, whatever the error
            self._note_fault(error)
        else:
            self._note_recovery()

    def _write_or_put_back(self, batch: WriteBatch) -> None:
        try:
            self._write(batch)
        except Exception as error:
            self._buffer.put_back(batch)
            if _is_broken(error):
                self._move_on(error)
            elif _is_of_the_disk(error) or not batch.runs:
                raise
            else:
                self._write_apart(list(batch.runs))
        else:
            self._buffer.written(batch)

    def _write_apart(self, numbers: list[int]) -> None:
        """Write exchange by exchange, and drop those that no disk could take."""
        for number in numbers:
            batch = self._buffer.take_one(number)
            try:
                self._write(batch)
            except Exception as error:
                self._buffer.put_back(batch)
                if _is_broken(error) or _is_of_the_disk(error):
                    raise
                self._buffer.give_up(number, f"journal: {error!r}", goes_on=True)
            else:
                self._buffer.written(batch)

    def _write(self, batch: WriteBatch) -> None:
        connection, commit = self._connection, self._commit + 1
        connection.execute("BEGIN IMMEDIATE")
        try:
            write_entries(connection, commit, batch.entries(), batch.losses)
            if self._faulty:
                self._files.ledger.note(commit, self._buffer.missing(besides_taken=True))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._commit = commit

    def _restore(self) -> None:
        try:
            self._connection = self._files.restore(self._connection)
        except (sqlite3.DatabaseError, FileExistsError) as error:
            if not _is_broken(error):
                raise
            self._move_on(error)
        else:
            logger.warning("Somebody removed files of Tapeline's journal: they were made again, with what they held.")

    def _move_on(self, error: Exception) -> None:
        """Continue in a new journal, and count the exchanges that were still passing in this one."""
        files = self._files.successor(self._successors + 1)
        connection = files.open()
        self._successors += 1
        reason = f"journal: {error}"
        self._buffer.give_up_begun(reason)
        with suppress(sqlite3.Error):
            self._connection.close()
        self._files.abandon()
        self._files, self._connection, self._commit = files, connection, 0
        self._wake.set()
        logger.error("Tapeline's journal cannot be used any more (%s): recording goes on in a new one.", error)

    def _note_fault(self, error: Exception) -> None:
        self._buffer.obstacle = f"journal: {error}"
        self._note_missing()
        if not self._faulty:
            self._faulty = True
            logger.error("Tapeline cannot write its journal (%s): traffic goes on, recording waits.", error)

    def _note_recovery(self) -> None:
        if self._faulty:
            self._files.ledger.clear()
            logger.warning("Tapeline writes its journal again.")
        self._faulty = self._overflowed = False

    def _note_missing(self) -> None:
        self._files.ledger.note(self._commit, self._buffer.missing())


def _is_broken(error: Exception) -> bool:
    """Whether the journal cannot be used any more, or its name belongs to another file."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, FileExistsError) or (code is not None and code & 0xFF in _BROKEN)


def _is_of_the_disk(error: Exception) -> bool:
    """Whether the error may go away by itself; any other error lies in the entries."""
    return isinstance(error, OSError | sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError
