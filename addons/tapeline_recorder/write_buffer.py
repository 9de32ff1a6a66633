"""Holds entries that wait to be written to the journal, within a limit on memory.

The event loop puts entries in, and the writer's thread takes them out; neither waits for the other longer than it takes
to move a list. Entries that do not fit are dropped, a whole exchange at a time, and counted. Later entries of a dropped
exchange are dropped as well: the journal has the start of the exchange, without a gap.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from .journal import Entry
from .loss_ledger import Loss, LossCount

# Rough size of an entry beside its body bytes, so that many small entries count as well.
ENTRY_OVERHEAD_BYTES = 512
# The reason for entries that wait for a disk; they are lost if the recorder ends first.
WAITING = "the recorder ended before the disk took them"


class EntryRun:
    """Successive entries of one exchange, and their size."""

    __slots__ = ("body", "counted", "entries", "size")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.size = 0
        self.body = 0
        #: The exchange has been counted as lost.
        self.counted = False

    def append(self, entry: Entry, size: int, body: int) -> None:
        self.entries.append(entry)
        self.size += size
        self.body += body

    def extend(self, later: EntryRun) -> None:
        self.entries += later.entries
        self.size += later.size
        self.body += later.body
        self.counted |= later.counted

    def split(self, most: int) -> tuple[EntryRun, EntryRun]:
        """Return the first entries up to that size in bytes, at least one, and the rest."""
        first, rest = EntryRun(), EntryRun()
        first.counted = rest.counted = self.counted
        for entry in self.entries:
            (rest if first.size >= most else first).append(entry, *measure(entry))
        return first, rest

    @property
    def begins(self) -> bool:
        return self.entries[0][0] == "head"

    @property
    def ends(self) -> bool:
        return self.entries[-1][0] == "ending"


class WriteBatch:
    """Entries and losses that are written in one transaction."""

    def __init__(self) -> None:
        self.runs: dict[int, EntryRun] = {}
        self.losses: list[Loss] = []
        #: Whether entries were left for the next batch.
        self.leaves_more = False

    def __bool__(self) -> bool:
        return bool(self.runs or self.losses)

    @property
    def size(self) -> int:
        return sum(run.size for run in self.runs.values())

    def entries(self) -> Iterable[Entry]:
        return (entry for run in self.runs.values() for entry in run.entries)


class WriteBuffer:
    """Entries that wait or are being written, and losses that are not in the journal yet."""

    def __init__(self, limit: int) -> None:
        #: Why entries cannot be written.
        self.obstacle = "journal: it takes too long to write"
        #: Exchanges that are lost so far, or are not complete.
        self.lost = 0
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting: dict[int, EntryRun] = {}
        self._taken = WriteBatch()
        self._size = 0
        self._losses = LossCount()
        #: Exchanges whose head is in the journal, or on its way there, and whose end is not.
        self._begun: set[int] = set()
        #: Exchanges that were dropped and are still passing, with the reason.
        self._given_up: dict[int, str] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting or self._losses)

    @property
    def waiting(self) -> int:
        """Exchanges that have entries waiting and are not counted as lost."""
        with self._lock:
            return sum(not run.counted for run in self._waiting.values())

    def add(self, entry: Entry) -> bool:
        """Put an entry in; return False if it and its exchange are dropped."""
        kind, number, _ = entry
        size, body = measure(entry)
        with self._lock:
            fits = self._size + size <= self._limit
            if fits and number not in self._given_up:
                self._append(entry, size, body)
                return True
            if number in self._given_up:
                self._count(self._given_up[number], 0, body)
            else:
                self._give_up(number, self.obstacle, body)
            if kind == "ending":
                self._given_up.pop(number, None)
            return False

    def count(self, reason: str, exchanges: int, size: int) -> None:
        """Count a loss."""
        with self._lock:
            self._count(reason, exchanges, size)

    def give_up(self, number: int, reason: str, *, goes_on: bool = False) -> None:
        """Drop an exchange: its waiting entries and all later ones."""
        with self._lock:
            self._give_up(number, reason, 0)
            if not goes_on:
                self._given_up.pop(number, None)

    def give_up_begun(self, reason: str) -> None:
        """Drop all exchanges that began in a journal that is lost."""
        with self._lock:
            begun, self._begun = self._begun, set()
            for number in begun:
                self._give_up(number, reason, 0)

    def take(self, most: int) -> WriteBatch:
        """Take out the next batch: losses, and entries of about that size in bytes."""
        with self._lock:
            batch, room = WriteBatch(), most
            for number, run in list(self._waiting.items()):
                # Only an exchange that is too large by itself is taken in parts.
                if run.size > room and batch:
                    break
                room -= run.size
                self._move(number, batch, most)
            batch.losses = self._losses.take()
            batch.leaves_more = bool(self._waiting)
            self._taken = batch
            return batch

    def take_one(self, number: int) -> WriteBatch:
        """Take out the waiting entries of one exchange."""
        with self._lock:
            self._taken = WriteBatch()
            if number in self._waiting:
                self._move(number, self._taken, self._limit)
            return self._taken

    def written(self, batch: WriteBatch) -> None:
        """Note that the batch is in the journal."""
        with self._lock:
            self._taken = WriteBatch()
            self._size -= batch.size
            self._begun.difference_update(number for number, run in batch.runs.items() if run.ends)

    def put_back(self, batch: WriteBatch) -> None:
        """Put a batch back that could not be written."""
        with self._lock:
            self._taken = WriteBatch()
            later, self._waiting = self._waiting, batch.runs
            self._begun.difference_update(number for number, run in batch.runs.items() if run.begins)
            for number, run in later.items():
                if number in self._waiting:
                    self._waiting[number].extend(run)
                else:
                    self._waiting[number] = run
            for loss in batch.losses:
                self._losses.add(loss)

    def missing(self, *, besides_taken: bool = False) -> list[Loss]:
        """Return what the journal would lack if the recorder ended now, or ended once the batch is written."""
        with self._lock:
            losses = self._losses.all()
            waiting = list(self._waiting.items())
            if not besides_taken:
                losses += self._taken.losses
                waiting += self._taken.runs.items()
            numbers = {number for number, run in waiting if not run.counted}
            if numbers:
                body = sum(run.body for _, run in waiting)
                losses.append(Loss(_now_us(), WAITING, len(numbers), body))
            return losses

    def _append(self, entry: Entry, size: int, body: int) -> EntryRun:
        run = self._waiting.get(entry[1])
        if run is None:
            run = self._waiting[entry[1]] = EntryRun()
        run.append(entry, size, body)
        self._size += size
        return run

    def _move(self, number: int, batch: WriteBatch, most: int) -> None:
        run = self._waiting.pop(number)
        if run.size > most:
            run, rest = run.split(most)
            if rest.entries:
                self._waiting[number] = rest
        if run.begins:
            self._begun.add(number)
        batch.runs[number] = run

    def _give_up(self, number: int, reason: str, body: int) -> None:
        run = self._waiting.pop(number, None)
        if run is not None:
            self._size -= run.size
            body += run.body
        if run is None or not run.ends:
            self._given_up[number] = reason
        self._count(reason, 1, body)
        if number in self._begun:
            # Without an ending, sealing would wait for the rest of the exchange.
            closing = ("ending", number, {"how": "stopped", "error": reason})
            self._append(closing, *measure(closing)).counted = True

    def _count(self, reason: str, exchanges: int, size: int) -> None:
        self.lost += exchanges
        self._losses.add(Loss(_now_us(), reason, exchanges, size))


def measure(entry: Entry) -> tuple[int, int]:
    """Return the memory that an entry takes, roughly, and the body bytes that it holds."""
    kind, _, value = entry
    if kind in ("request", "response"):
        return len(value[1]) + ENTRY_OVERHEAD_BYTES, len(value[1])
    headers = value.get("headers", ()) if isinstance(value, dict) else ()
    return ENTRY_OVERHEAD_BYTES + sum(len(name) + len(text) for name, text in headers), 0


def _now_us() -> int:
    return time.time_ns() // 1000
