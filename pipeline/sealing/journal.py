"""Reads a recorder's journal for sealing: which exchanges form a batch, what each holds, and when to forget them.

A batch is numbered, and its members fixed in the journal, before anything is written, so a repeated batch has the same
members and the same name. The recorder's own `journal` defines the file format.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tapeline.addons.tapeline_recorder.journal import BUSY_SECONDS, JOURNAL_VERSION, open_journal, piece_checksum

from ..errors import DataError
from ..records.captured import CapturedBodies, CapturedExchange

# Sealing takes several times the memory of an exchange; a batch of this size fits well.
BATCH_EXCHANGES = 1000
BATCH_BYTES = 64 * 1024 * 1024

#: A loss: number, microseconds since 1970, reason, exchanges, bytes.
Loss = tuple[int, int, str, int, int]
#: Columns of a piece, as `add_piece` takes them.
PIECE = "part, chunks, data, checksum"


class Journal:
    """One recorder's journal, opened for sealing."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        try:
            self.about: dict[str, str] = dict(self._connection.execute("SELECT name, value FROM about"))
            if self.about["version"] != str(JOURNAL_VERSION):
                raise DataError(
                    f"{path} has journal version {self.about['version']}, this Tapeline reads {JOURNAL_VERSION}: "
                    "load it with the version that recorded it."
                )
        except BaseException:
            self._connection.close()
            raise

    @property
    def last_commit(self) -> int:
        """The number of the recorder's last transaction when the journal was opened."""
        return int(self.about.get("last_commit", 0))

    def close(self) -> None:
        self._connection.close()

    def open_batches(self) -> list[int]:
        """Return the batches that were numbered and not forgotten, because sealing stopped in between."""
        rows = self._connection.execute(
            "SELECT batch FROM exchange WHERE batch IS NOT NULL UNION SELECT batch FROM loss WHERE batch IS NOT NULL"
        )
        return sorted(number for (number,) in rows)

    def number_batch(self, *, unfinished: bool) -> int | None:
        """Fix the members of a new batch and return its number; None if there is nothing to seal.

        Members are exchanges that ended, oldest first, and with `unfinished` also those that never will.
        """
        with self._transaction():
            last = self._connection.execute("SELECT value FROM about WHERE name = 'last_batch'").fetchone()
            number = int(last[0]) + 1 if last else 1
            members = list(self._members(unfinished=unfinished))
            self._connection.executemany(
                "UPDATE exchange SET batch = ? WHERE number = ?", ((number, member) for member in members)
            )
            losses = self._connection.execute("UPDATE loss SET batch = ? WHERE batch IS NULL", (number,)).rowcount
            if not members and not losses:
                return None
            self._connection.execute("INSERT OR REPLACE INTO about VALUES ('last_batch', ?)", (str(number),))
        return number

    def exchanges(self, batch: int) -> Iterator[CapturedExchange]:
        """Yield the members of a batch in the order of their start, with one in memory at a time."""
        rows = self._connection.execute(
            "SELECT number, exchange_id, head, answer, ending FROM exchange WHERE batch = ? ORDER BY number",
            (batch,),
        ).fetchall()
        for number, exchange_id, head, answer, ending in rows:
            captured = captured_exchange(exchange_id, head, answer, ending)
            for piece in self._connection.execute(
                f"SELECT {PIECE} FROM piece WHERE number = ? ORDER BY id",  # noqa: S608 - our own names
                (number,),
            ):
                add_piece(captured, *piece)
            yield captured

    def losses(self, batch: int) -> list[Loss]:
        """Return the losses in a batch."""
        return self._connection.execute(
            "SELECT id, at_us, reason, exchanges, bytes FROM loss WHERE batch = ? ORDER BY id", (batch,)
        ).fetchall()

    def unwritten(self, content_ids: list[str]) -> set[str]:
        """Return the ids that no earlier batch has written."""
        return {
            content_id
            for content_id in content_ids
            if not self._connection.execute(
                "SELECT 1 FROM written_content WHERE content_id = ?", (content_id,)
            ).fetchone()
        }

    def forget(self, batch: int, content_ids: list[str], *, wipe: bool = False) -> None:
        """Delete a batch whose files are on the disk, and remember the content that it wrote.

        With `wipe` its bytes are overwritten at once; else they stay in free pages until those are used again.
        """
        self._connection.execute(f"PRAGMA secure_delete = {int(wipe)}")
        with self._transaction():
            self._connection.executemany(
                "INSERT OR IGNORE INTO written_content VALUES (?)",
                ((content_id,) for content_id in content_ids),
            )
            self._connection.execute(
                "DELETE FROM piece WHERE number IN (SELECT number FROM exchange WHERE batch = ?)", (batch,)
            )
            self._connection.execute("DELETE FROM exchange WHERE batch = ?", (batch,))
            self._connection.execute("DELETE FROM loss WHERE batch = ?", (batch,))
        if wipe:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def waiting(self) -> tuple[int, int]:
        """Return how many exchanges are finished and not sealed, and how many still run or were cut."""
        finished, total = self._connection.execute("SELECT count(ending), count(*) FROM exchange").fetchone()
        return finished, total - finished

    def fills_a_batch(self) -> bool:
        """Whether enough exchanges have ended to fill a batch."""
        count, size = self._connection.execute(
            "SELECT count(DISTINCT exchange.number), coalesce(sum(length(data)), 0) "
            "FROM exchange LEFT JOIN piece USING (number) WHERE batch IS NULL AND ending IS NOT NULL"
        ).fetchone()
        return bool(count >= BATCH_EXCHANGES or size >= BATCH_BYTES)

    def _members(self, *, unfinished: bool) -> Iterator[int]:
        ended = "" if unfinished else "AND ending IS NOT NULL"
        rows = self._connection.execute(
            "SELECT number, (SELECT coalesce(sum(length(data)), 0) FROM piece WHERE piece.number = exchange.number) "  # noqa: S608
            f"FROM exchange WHERE batch IS NULL {ended} ORDER BY number LIMIT ?",
            (BATCH_EXCHANGES,),
        ).fetchall()
        size = 0
        for number, length in rows:
            size += length
            yield number
            if size >= BATCH_BYTES:
                return

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run a transaction that is on the disk when it ends."""
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def open_to_read(path: Path) -> sqlite3.Connection:
    """Connect to a journal without changing its files, the write-ahead log included."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def open_journal_for_sealing(path: Path) -> Journal:
    """Open a journal. Raises DataError that names it if it cannot be read."""
    return _open(path, open_journal)


def open_journal_to_look(path: Path) -> Journal:
    """Open a journal without changing it. Raises DataError that names it if it cannot be read."""
    return _open(path, open_to_read)


def _open(path: Path, connect: Callable[[Path], sqlite3.Connection]) -> Journal:
    try:
        return Journal(connect(path), path)
    except (sqlite3.Error, KeyError) as error:
        raise DataError(
            f"{path} is not a journal that can be read: {error}. Move it away to go on without it."
        ) from error


def captured_exchange(exchange_id: Any, head: Any, answer: Any, ending: Any) -> CapturedExchange:
    """Return an exchange from its row, without its pieces. Raises ValueError or TypeError for values that no recorder
    writes."""
    captured = CapturedExchange(
        exchange_id=exchange_id,
        head=json.loads(head),
        answer=json.loads(answer) if answer else None,
        ending=json.loads(ending) if ending else None,
    )
    values: tuple[object, ...] = (captured.head, captured.answer or {}, captured.ending or {})
    for value in values:
        if not isinstance(value, dict):
            raise TypeError(f"no JSON object: {value!r}")
    if captured.head.get("exchange_id") != exchange_id:
        raise ValueError(f"not the head of {exchange_id}")
    return captured


def add_piece(captured: CapturedBodies, part: Any, chunks: Any, data: Any, checksum: Any) -> None:
    """Add a piece to a body. Raises ValueError or TypeError for a piece that no recorder writes, which is not added."""
    if checksum != piece_checksum(chunks, data):
        raise ValueError("the checksum of a piece is not that of its bytes")
    body = captured.request if part == "request" else captured.response
    sizes = json.loads(chunks)
    if not data:
        skipped = sum(size for _, size in sizes)
        if part == "request":
            captured.request_skipped += skipped
        else:
            captured.response_skipped += skipped
        return
    start = 0
    for at_us, size in sizes:
        body.append((at_us, data[start : start + size]))
        start += size
