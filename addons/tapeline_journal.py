"""The journal: an SQLite file (WAL) that holds what passed through one recorder until it is sealed.

This module owns the file format, for the recorder that writes it and for sealing, which reads it and empties it.
Rows are bytes and times as they came; what they mean is decided at sealing. It leaves it to the caller which
exchanges are recorded and which headers may be kept.

A recorder holds a lock beside its journal for as long as it lives. The operating system drops it with the
process, so that sealing can tell a running recorder from a dead one, however it died.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# Version 1: first form.
JOURNAL_VERSION = 1

SCHEMA = """
-- What holds for all of the journal: its version, the recorder's id, the label of its run, the versions that wrote it.
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- A row per recorded request. `head` is known at its start, `answer` with the response's headers, `ending` last; all
-- are JSON. `batch` is set when sealing takes the exchange on, before anything of the batch is written.
CREATE TABLE exchange (
  number INTEGER PRIMARY KEY,
  exchange_id TEXT NOT NULL,
  head TEXT NOT NULL,
  answer TEXT,
  ending TEXT,
  batch INTEGER
);

-- A row per stretch of body bytes. `chunks` is a JSON list of [microseconds since the start, bytes], one a chunk
-- as it passed through the proxy.
CREATE TABLE piece (
  id INTEGER PRIMARY KEY,
  number INTEGER NOT NULL,
  part TEXT NOT NULL CHECK (part IN ('request', 'response')),
  chunks TEXT NOT NULL,
  data BLOB NOT NULL
);
CREATE INDEX piece_number ON piece (number);

-- A row per fault that left something unrecorded.
CREATE TABLE loss (
  id INTEGER PRIMARY KEY,
  at_us INTEGER NOT NULL,
  reason TEXT NOT NULL,
  exchanges INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  batch INTEGER
);

-- Content that an earlier batch of this recorder has written, so that later batches need not.
CREATE TABLE written_content (content_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""

# Chunks are gathered this long before they are written: half of what a kill may cost (200 ms), less the write itself.
FLUSH_SECONDS = 0.05
# What waits for a disk that does not take it, at most. Above it the waiting exchanges are given up and counted.
MAX_PENDING_BYTES = 256 * 1024 * 1024
# How often a disk that does not take it is tried again.
RETRY_SECONDS = 1.0
# Rough size of an entry beside its body bytes, so that many small entries count as well.
ENTRY_OVERHEAD_BYTES = 512
# Sealing's transactions are short; longer than this the writer tries again at its next turn.
BUSY_SECONDS = 5.0

Entry = tuple[str, int, Any]


def open_journal(path: Path) -> sqlite3.Connection:
    """Connect to an existing journal. The caller closes it; the journal may be in use by others."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def create_journal(path: Path, about: dict[str, str]) -> sqlite3.Connection:
    """Make a new, private journal; `about` is kept with it as it is."""
    # Under its own name it is whole: sealing may look at it at any moment.
    unfinished = path.with_suffix(".new")
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    rows = {"version": str(JOURNAL_VERSION), **about}
    with closing(open_journal(unfinished)) as connection:
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO about VALUES (?, ?)", rows.items())
    unfinished.rename(path)
    connection = open_journal(path)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


class Lock:
    """A lock on a file of its own that the operating system drops with the process.

    It is SQLite's own file lock, because that one works alike on Linux, macOS and Windows.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def take(self, seconds: float = 0.0) -> bool:
        """Take the lock, waiting at most so long; False when somebody else has it."""
        private_file(self._path)
        connection = sqlite3.connect(self._path, timeout=seconds, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            connection.close()
            if "locked" in str(error):
                return False
            raise
        self._connection = connection
        return True

    def release(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock on `path`."""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            return "locked" in str(error)
        return False


def private_file(path: Path) -> None:
    """Make an empty file that only its owner may read, unless it is there."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


class JournalWriter:
    """Writes entries to a journal from a thread of its own, so that the caller never waits for a disk.

    `add` only puts an entry on a queue. The thread gathers for `FLUSH_SECONDS` and writes what it has in one
    transaction. When the disk does not take it, the entries wait in memory up to a limit, after which the
    exchanges that wait are given up and counted; the count is written as soon as the disk takes it.
    """

    def __init__(self, connection: sqlite3.Connection, *, max_pending_bytes: int = MAX_PENDING_BYTES) -> None:
        self._connection = connection
        self._max_pending_bytes = max_pending_bytes
        self._queue: deque[Entry] = deque()
        self._waiting: list[Entry] = []
        self._given_up: set[int] = set()
        self._losses: list[tuple[int, str, int, int]] = []
        self._faulty = False
        self._deadline = 0.0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tapeline-journal", daemon=True)
        self._thread.start()

    def add(self, kind: str, number: int, value: Any) -> None:
        """Queue an entry: `head`, `answer`, `ending` with a dict; `request`, `response` with (microseconds, bytes)."""
        self._queue.append((kind, number, value))
        if not self._wake.is_set():
            self._wake.set()

    def count_loss(self, reason: str, exchanges: int, size: int) -> None:
        """Note that something could not be recorded; it is written to the ledger with the next entries."""
        self._losses.append((time.time_ns() // 1000, reason, exchanges, size))
        self._wake.set()

    def close(self, seconds: float = 10.0) -> bool:
        """Write what waits and close the journal; False when the disk did not take all of it in that time."""
        self._deadline = time.monotonic() + seconds
        self._closing.set()
        self._wake.set()
        self._thread.join(seconds + RETRY_SECONDS)
        return not self._thread.is_alive() and not self._waiting

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(RETRY_SECONDS if self._waiting else FLUSH_SECONDS)
            self._wake.clear()
            self._flush()
            if self._waiting:
                self._wake.set()
        self._flush()
        while self._waiting and time.monotonic() < self._deadline:
            time.sleep(FLUSH_SECONDS)
            self._flush()
        if self._waiting:
            lost = len({number for _, number, _ in self._waiting})
            logger.error("Tapeline could not write %d exchanges: the disk did not take them.", lost)
        self._connection.close()

    def _flush(self) -> None:
        while self._queue:
            entry = self._queue.popleft()
            if entry[1] not in self._given_up:
                self._waiting.append(entry)
            elif entry[0] == "ending":
                self._given_up.discard(entry[1])
        losses = list(self._losses)
        if not self._waiting and not losses:
            return
        try:
            self._write(self._waiting, losses)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread has to live on and try again
            self._note_fault(error)
            self._give_up_beyond_limit(error)
            return
        self._waiting = []
        del self._losses[: len(losses)]
        self._note_recovery()

    def _write(self, entries: list[Entry], losses: list[tuple[int, str, int, int]]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for kind, numbered in _by_kind(entries):
                _WRITERS[kind](connection, numbered)
            connection.executemany("INSERT INTO loss (at_us, reason, exchanges, bytes) VALUES (?, ?, ?, ?)", losses)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _note_fault(self, error: Exception) -> None:
        if not self._faulty:
            self._faulty = True
            logger.error("Tapeline cannot write its journal (%s): traffic goes on, recording waits.", error)

    def _note_recovery(self) -> None:
        if self._faulty:
            self._faulty = False
            logger.warning("Tapeline writes its journal again.")

    def _give_up_beyond_limit(self, error: Exception) -> None:
        size = sum(_entry_size(entry) for entry in self._waiting)
        if size <= self._max_pending_bytes:
            return
        numbers = {number for _, number, _ in self._waiting}
        finished = {number for kind, number, _ in self._waiting if kind == "ending"}
        self._given_up |= numbers - finished
        self._losses.append((time.time_ns() // 1000, f"journal: {error}", len(numbers), size))
        self._waiting = []


def _entry_size(entry: Entry) -> int:
    body = len(entry[2][1]) if entry[0] in ("request", "response") else 0
    return body + ENTRY_OVERHEAD_BYTES


def _by_kind(entries: Iterable[Entry]) -> list[tuple[str, list[tuple[int, Any]]]]:
    """Entries of one kind together: an exchange's `head` first, so that the others find its row."""
    grouped: dict[str, list[tuple[int, Any]]] = {kind: [] for kind in _WRITERS}
    for kind, number, value in entries:
        grouped[kind].append((number, value))
    return [(kind, numbered) for kind, numbered in grouped.items() if numbered]


def _write_heads(connection: sqlite3.Connection, numbered: list[tuple[int, Any]]) -> None:
    rows = [(number, head["exchange_id"], _json(head)) for number, head in numbered]
    connection.executemany("INSERT INTO exchange (number, exchange_id, head) VALUES (?, ?, ?)", rows)


def _write_answers(connection: sqlite3.Connection, numbered: list[tuple[int, Any]]) -> None:
    rows = [(_json(answer), number) for number, answer in numbered]
    connection.executemany("UPDATE exchange SET answer = ? WHERE number = ?", rows)


def _write_endings(connection: sqlite3.Connection, numbered: list[tuple[int, Any]]) -> None:
    rows = [(_json(ending), number) for number, ending in numbered]
    connection.executemany("UPDATE exchange SET ending = ? WHERE number = ?", rows)


def _write_pieces(part: str) -> Callable[[sqlite3.Connection, list[tuple[int, Any]]], None]:
    def write(connection: sqlite3.Connection, numbered: list[tuple[int, Any]]) -> None:
        stretches: dict[int, list[tuple[int, bytes]]] = {}
        for number, chunk in numbered:
            stretches.setdefault(number, []).append(chunk)
        rows = [
            (number, part, _json([[at, len(data)] for at, data in chunks]), b"".join(d for _, d in chunks))
            for number, chunks in stretches.items()
        ]
        connection.executemany("INSERT INTO piece (number, part, chunks, data) VALUES (?, ?, ?, ?)", rows)

    return write


_WRITERS: dict[str, Callable[[sqlite3.Connection, list[tuple[int, Any]]], None]] = {
    "head": _write_heads,
    "request": _write_pieces("request"),
    "answer": _write_answers,
    "response": _write_pieces("response"),
    "ending": _write_endings,
}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
