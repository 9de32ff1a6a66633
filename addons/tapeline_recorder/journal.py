"""The journal: an SQLite file (WAL) that holds what passed through one recorder until it is sealed.

This module owns the file format, for the recorder that writes it and for sealing, which reads and empties it. Rows are
bytes and times as they came; sealing interprets them.

A recorder holds a lock beside its journal while it runs. The operating system releases the lock with the process, so
sealing can tell a running recorder from a dead one, however it died.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from .loss_ledger import Loss, has_name

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

-- A row per run of body bytes. `chunks` is a JSON list of [microseconds since the start, bytes], one a chunk
-- as it passed through the proxy; `checksum` is that of both, for SQLite notices no garbage within a row. Of bytes over
-- the limit of a body only the number is kept, and `data` is empty.
CREATE TABLE piece (
  id INTEGER PRIMARY KEY,
  number INTEGER NOT NULL,
  part TEXT NOT NULL CHECK (part IN ('request', 'response')),
  chunks TEXT NOT NULL,
  data BLOB NOT NULL,
  checksum INTEGER NOT NULL
);
CREATE INDEX piece_number ON piece (number, part);

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

# Suffixes of the files that SQLite keeps beside a database.
COMPANIONS = ("-wal", "-shm", "-journal")
# Sealing's transactions are short; after this long the writer tries again at its next turn.
BUSY_SECONDS = 5.0

# So that a lock can be taken on a full disk, too.
_WITHOUT_FILES = "PRAGMA journal_mode = MEMORY"

Entry = tuple[str, int, Any]


def open_journal(path: Path) -> sqlite3.Connection:
    """Connect to an existing journal. The caller closes it; the journal may be in use by others."""
    # Without the mode, a journal that is removed at this moment would be made again, empty.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def create_journal(path: Path, about: dict[str, str]) -> sqlite3.Connection:
    """Make a new, private journal that holds `about` as it is."""
    rows = {"version": str(JOURNAL_VERSION), **about}
    with _unfinished(path) as connection:
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO about VALUES (?, ?)", rows.items())
    return _open_new(path)


def move_journal(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """Write an open journal that has lost its name under that name again, and close the old connection."""
    with _unfinished(path) as copy:
        connection.backup(copy)
        # SQLite would take the old journal's remaining files for the new one's.
        for suffix in COMPANIONS:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    moved = _open_new(path)
    connection.close()
    return moved


@contextmanager
def _unfinished(path: Path) -> Iterator[sqlite3.Connection]:
    """Connect to a new file that gets its name at the end; from then on sealing may read it."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    private_file(unfinished)
    try:
        with closing(open_journal(unfinished)) as connection:
            yield connection
        unfinished.rename(path)
    except BaseException:
        for suffix in ("", *COMPANIONS):
            unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)
        raise


def _open_new(path: Path) -> sqlite3.Connection:
    connection = open_journal(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        last_commit(connection)  # reading creates the write-ahead log
    except BaseException:
        connection.close()
        raise
    return connection


def last_commit(connection: sqlite3.Connection) -> int:
    """Return the number of the recorder's last transaction in the journal."""
    row = connection.execute("SELECT value FROM about WHERE name = 'last_commit'").fetchone()
    return int(row[0]) if row else 0


def write_entries(connection: sqlite3.Connection, commit: int, entries: Iterable[Entry], losses: list[Loss]) -> None:
    """Write entries and losses of the commit with this number, within the caller's transaction.

    An entry is (kind, number of the exchange, value). Values by kind: `head`, `answer` and `ending` have a `Head`,
    `Answer` or `Ending`; `request` and `response` have (microseconds, bytes); `request_skipped` and `response_skipped`
    have (microseconds, number of bytes that are not kept).
    """
    for kind, numbered in _by_kind(entries):
        _WRITERS[kind](connection, numbered)
    _write_losses(connection, losses)
    connection.execute("INSERT OR REPLACE INTO about VALUES ('last_commit', ?)", (str(commit),))


class Lock:
    """A lock on a file of its own, which the operating system releases with the process.

    It is SQLite's file lock, because that works the same way on Linux, macOS and Windows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._status: os.stat_result | None = None

    def take(self, seconds: float = 0.0) -> bool:
        """Take the lock, waiting at most this long; return False if another process has it."""
        private_file(self.path)
        connection = sqlite3.connect(self.path, timeout=seconds, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(_WITHOUT_FILES)
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            connection.close()
            if "locked" in str(error):
                return False
            raise
        self._connection = connection
        self._status = self.path.stat()
        return True

    def is_there(self) -> bool:
        """Whether the locked file still has its name."""
        return self._status is not None and has_name(self._status, self.path)

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
            connection.execute(_WITHOUT_FILES)
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            return "locked" in str(error)
        return False


def piece_checksum(chunks: str, data: bytes) -> int:
    """Return the checksum of a piece."""
    return zlib.crc32(data, zlib.crc32(chunks.encode()))


def private_file(path: Path) -> None:
    """Make an empty file that only its owner may read; an existing file stays."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def _by_kind(entries: Iterable[Entry]) -> list[tuple[str, list[tuple[int, Any]]]]:
    """Group entries by kind, heads first, so that the others find their rows."""
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
        runs: dict[int, list[tuple[int, bytes]]] = {}
        for number, chunk in numbered:
            runs.setdefault(number, []).append(chunk)
        for number, chunks in runs.items():
            body = b"".join(data for _, data in chunks)
            _write_piece(connection, number, part, [(at_us, len(data)) for at_us, data in chunks], body)

    return write


def _write_piece(
    connection: sqlite3.Connection, number: int, part: str, chunks: list[tuple[int, int]], data: bytes
) -> None:
    times = _json(chunks)
    connection.execute(
        "INSERT INTO piece (number, part, chunks, data, checksum) VALUES (?, ?, ?, ?, ?)",
        (number, part, times, data, piece_checksum(times, data)),
    )


def _write_skipped(part: str) -> Callable[[sqlite3.Connection, list[tuple[int, Any]]], None]:
    def write(connection: sqlite3.Connection, numbered: list[tuple[int, Any]]) -> None:
        runs: dict[int, tuple[int, int]] = {}
        for number, (at_us, size) in numbered:
            runs[number] = (at_us, runs.get(number, (0, 0))[1] + size)
        for number, run in runs.items():
            _write_piece(connection, number, part, [run], b"")

    return write


def _write_losses(connection: sqlite3.Connection, losses: list[Loss]) -> None:
    for loss in losses:
        amounts = (loss.at_us, loss.exchanges, loss.bytes, loss.reason)
        # A fault that goes on has one row a batch.
        known = connection.execute(
            "UPDATE loss SET at_us = ?, exchanges = exchanges + ?, bytes = bytes + ? "
            "WHERE reason = ? AND batch IS NULL",
            amounts,
        )
        if not known.rowcount:
            connection.execute("INSERT INTO loss (at_us, exchanges, bytes, reason) VALUES (?, ?, ?, ?)", amounts)


_WRITERS: dict[str, Callable[[sqlite3.Connection, list[tuple[int, Any]]], None]] = {
    "head": _write_heads,
    "request": _write_pieces("request"),
    "request_skipped": _write_skipped("request"),
    "answer": _write_answers,
    "response": _write_pieces("response"),
    "response_skipped": _write_skipped("response"),
    "ending": _write_endings,
}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
