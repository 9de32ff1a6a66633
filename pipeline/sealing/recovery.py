"""Seals the damaged journal of a recorder that is gone: what can be read of it, and a count of what cannot.

Rows are read by ranges of their keys: a range in which reading fails is halved until single keys fail. A body with a
hole is kept up to the hole, so that what is kept is a prefix of what passed. The batches have names of their own and
leave out what was sealed before, so the work can be repeated without doubling anything. The journal is then put aside.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..atomic_write import write_whole
from ..dataset.files import written_batches, written_values
from ..dataset.schema import DATASETS, EXCHANGES, LOSSES
from ..records.captured import CapturedExchange
from .batch import Written, loss_row, make_batch, write
from .cleanup import move_aside
from .integrity import TRACELESS, damage_of
from .journal import BATCH_BYTES, BATCH_EXCHANGES, PIECE, Loss, add_piece, captured_exchange, open_to_read
from .policy import policy_of

# After this many failures in one table reading stops: more would take long and find little.
MAX_FAULTS = 100_000
# No row takes fewer bytes; this bounds the keys if the highest cannot be read.
_ROW_BYTES = 64
NOT_WHOLE = "its journal is damaged: not all of its bytes are there"
_PARTS = ("request", "response")
WITHOUT_CONTENT = {"content": "none"}
# Part of the names of files that recovery writes; earlier versions used it, too.
RECOVERED = "-salvaged"

Row = tuple[Any, ...]


def recover_if_damaged(directory: DataDirectory, recorder_id: str, done: Callable[[Written], None]) -> str | None:
    """Seal what is left of the journal of a recorder that is gone, if it is damaged; None where it is whole or missing.

    `done` is called for each batch that was written. Returns a sentence for the user. Raises DataError when the disk
    does not take a batch, OSError and sqlite3.Error for a journal that cannot be looked at.
    """
    if not directory.journal(recorder_id).exists():
        return None
    damage = _damage_found(directory, recorder_id)
    return None if damage is None else _recover(directory, recorder_id, damage, done)


def _damage_found(directory: DataDirectory, recorder_id: str) -> str | None:
    """Return what is wrong with a journal, and note it beside the journal for good.

    Reading a journal can remove the signs of damage, and its recovery may have to be repeated.
    """
    damage_note = directory.damage_note(recorder_id)
    if damage_note.exists():
        return damage_note.read_text("utf-8")
    batches = max(written_batches(directory.dataset(name), recorder_id) for name in DATASETS)
    damage = damage_of(directory.journal(recorder_id), batches)
    if damage is not None:
        write_whole(damage_note, damage.encode(), durable=True)
    return damage


def _recover(directory: DataDirectory, recorder_id: str, damage: str, done: Callable[[Written], None]) -> str:
    """Seal what can be read and was not sealed before, count the rest, put the journal aside; return what was done."""
    sealed = written_values(directory.dataset(EXCHANGES.name), recorder_id, "exchange_id")
    counted = written_values(directory.dataset(LOSSES.name), recorder_id, "loss_id")
    name = f"{recorder_id}{RECOVERED}"
    saved = 0
    damaged = DamagedJournal(directory.journal(recorder_id))
    try:
        about = damaged.about
        # Without settings nothing says that text may be kept. The journal itself stays.
        policy = policy_of(WITHOUT_CONTENT if about is None else about, directory)
        exchanges = (captured for captured in damaged.exchanges() if captured.exchange_id not in sealed)
        for number, members in enumerate(_in_batches(exchanges), 1):
            batch = make_batch(recorder_id, damaged.run, members, (), policy)
            done(write(directory, f"{name}-{number:06d}", batch))
            saved += len(members)
        losses = make_batch(recorder_id, damaged.run, (), damaged.losses(), policy)
    finally:
        damaged.close()
    missing = max(damaged.missing, 1 if damage in TRACELESS else 0)
    noted_at_us = directory.damage_note(recorder_id).stat().st_mtime_ns // 1000
    losses.losses = [row for row in losses.losses if row["loss_id"] not in counted]
    losses.losses.append(
        loss_row(recorder_id, damaged.run, "journal", noted_at_us, f"journal: {damage}", missing, None)
    )
    done(write(directory, f"{name}-losses", losses))
    corrupt = move_aside(directory, recorder_id)
    unsure = " Its settings cannot be read: no text was kept." if about is None and saved else ""
    return (
        f"{directory.journal(recorder_id)} was damaged ({damage}): {saved:,} exchanges were saved, {missing:,} or more "
        f"are missing or not whole.{unsure} It is kept as {corrupt.name}."
    )


def _in_batches(exchanges: Iterable[CapturedExchange]) -> Iterator[list[CapturedExchange]]:
    """Yield exchanges in lists that fit well in memory."""
    members: list[CapturedExchange] = []
    size = 0
    for captured in exchanges:
        members.append(captured)
        size += sum(len(data) for _, data in (*captured.request, *captured.response))
        if len(members) >= BATCH_EXCHANGES or size >= BATCH_BYTES:
            yield members
            members, size = [], 0
    if members:
        yield members


class DamagedJournal:
    """A damaged journal, read once: `missing` and `run` are right when `exchanges` has ended."""

    def __init__(self, path: Path) -> None:
        self.run = ""
        self._missing = 0
        self._size = path.stat().st_size
        self._connection = open_to_read(path)
        with suppress(sqlite3.Error):
            # A file that is shorter than its header says is read as far as it goes.
            self._connection.execute("PRAGMA writable_schema = ON")
        self._unread: dict[str, list[int]] = {"exchange": [], "piece": [], "loss": []}
        self._readable = self._has_tables()
        self._pieces, self._pieces_known = self._find_pieces()

    def close(self) -> None:
        self._connection.close()

    @property
    def missing(self) -> int:
        """Return how many exchanges are missing or incomplete; 1 if some are and their number is unknown."""
        unseen = not self._readable or self._unread["exchange"] or self._unread["loss"]
        return max(self._missing, 1 if unseen else 0)

    @property
    def about(self) -> dict[str, str] | None:
        """The settings in the journal, if they can be read."""
        try:
            return dict(self._connection.execute("SELECT name, value FROM about"))
        except (sqlite3.Error, ValueError, TypeError):
            return None

    def exchanges(self) -> Iterator[CapturedExchange]:
        """Yield every exchange that can be read, in the order of their start."""
        unheard = set(self._pieces)
        for number, *columns in self._rows("exchange", "number", "exchange_id, head, answer, ending"):
            unheard.discard(number)
            try:
                captured = captured_exchange(*columns)
            except (ValueError, TypeError):
                self._missing += 1
                continue
            self.run = str(captured.head.get("run", self.run))
            if broken := self._add_pieces(number, captured):
                self._missing += 1
                known = captured.ending if "response" not in broken else None
                captured.ending = {**(known or {"how": "stopped"}), "error": NOT_WHOLE}
            yield captured
        self._missing += len(unheard)

    def losses(self) -> list[Loss]:
        """Return the losses that can be read, as `Journal.losses` returns them."""
        rows = self._rows("loss", "id", "at_us, reason, exchanges, bytes")
        return [row for row in rows if list(map(type, row)) == [int, int, str, int, int]]

    def _has_tables(self) -> bool:
        try:
            self._connection.execute("SELECT 1 FROM sqlite_schema")
        except sqlite3.Error:
            return False
        return True

    def _find_pieces(self) -> tuple[dict[int, dict[int, str]], bool]:
        """Return the keys and parts of each exchange's pieces, from the table and its index, and whether the index was
        whole."""
        pieces: dict[int, dict[int, str]] = {}

        def note(key: int, number: Any, part: Any) -> None:
            if isinstance(number, int) and part in _PARTS:
                pieces.setdefault(number, {})[key] = part

        for row in self._rows("piece", "id", "number, part"):
            note(*row)
        with suppress(sqlite3.Error):
            for row in self._connection.execute("SELECT id, number, part FROM piece INDEXED BY piece_number"):
                note(*row)
            return pieces, True
        return pieces, False

    def _add_pieces(self, number: int, captured: CapturedExchange) -> set[str]:
        """Read each part of an exchange up to its first missing piece; return the parts that lack some."""
        broken: set[str] = set()
        pieces = self._pieces.get(number, {})
        hole = self._possible_hole(pieces)
        for key in sorted(pieces):
            if hole is not None and key > hole:
                break
            part = pieces[key]
            if part not in broken:
                try:
                    self._add_piece(captured, number, part, key)
                except (ValueError, TypeError, sqlite3.Error):
                    broken.add(part)
        return broken if hole is None else set(_PARTS)

    def _possible_hole(self, pieces: dict[int, str]) -> int | None:
        """Return an unreadable key that may belong to this exchange, if the index does not say whose it is."""
        unread = self._unread["piece"]
        if self._pieces_known or not unread:
            return None
        position = bisect_right(unread, min(pieces, default=0))
        return unread[position] if position < len(unread) else None

    def _add_piece(self, captured: CapturedExchange, number: int, part: str, key: int) -> None:
        sql = f"SELECT {PIECE} FROM piece WHERE id = ? AND number = ? AND part = ?"  # noqa: S608 - our own names
        row = self._connection.execute(sql, (key, number, part)).fetchone()
        if row is None:
            raise ValueError(f"piece {key} is not there")
        add_piece(captured, *row)

    def _rows(self, table: str, key: str, columns: str) -> Iterator[Row]:
        """Yield the rows that can be read, by their key. Names are our own."""
        sql = f"SELECT {key}, {columns} FROM {table} WHERE {key} BETWEEN ? AND ? ORDER BY {key}"  # noqa: S608
        ranges = [self._bounds(table, key)] if self._readable else []
        faults = 0
        while ranges and faults < MAX_FAULTS:
            low, high = ranges.pop()
            last = low - 1
            try:
                for row in self._connection.execute(sql, (low, high)):
                    if not last < row[0] <= high:
                        raise sqlite3.DatabaseError("rows out of order")
                    last = row[0]
                    yield row
            except (sqlite3.Error, TypeError):
                faults += 1
                middle = (last + 1 + high) // 2
                if middle < high:
                    ranges += [(middle + 1, high), (last + 1, middle)]
                elif last < high:
                    self._unread[table].append(high)
        self._unread[table] += sorted(low for low, _ in ranges)

    def _bounds(self, table: str, key: str) -> tuple[int, int]:
        """Return the lowest and the highest key that a row can have."""
        sources = [(table, key), *([("piece", "number")] if table == "exchange" else [])]
        highest, beyond = 0, 0
        for source, column in sources:
            for order in ("DESC", "ASC"):
                sql = f"SELECT {column} FROM {source} ORDER BY {column} {order} LIMIT 1"  # noqa: S608
                try:
                    highest = max(highest, *(row[0] for row in self._connection.execute(sql)), 0)
                except (sqlite3.Error, TypeError):
                    beyond = self._size // _ROW_BYTES
        return 0, highest + beyond
