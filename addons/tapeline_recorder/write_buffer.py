"""What waits to be written to the journal, within a limit on memory.

The event loop puts entries in, the writer's thread takes them out; neither waits for the other longer than it takes to
move a list. What does not fit is given up, exchange by exchange, and counted. Of an exchange that is given up nothing
that comes later is kept: what the journal has of it is what came first, without a gap.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from .journal import Entry
from .loss_ledger import Loss, LossCount

# Rough size of an entry beside its body bytes, so that many small entries count as well.
ENTRY_OVERHEAD_BYTES = 512
# Said of what waits for a disk; it comes true if the recorder ends first.
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
        """The first entries up to that size, at least one, and the rest."""
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
    """What is taken out to be written at once."""

    def __init__(self) -> None:
        self.stretches: dict[int, EntryRun] = {}
        self.losses: list[Loss] = []
        #: Something was left behind for the next one.
        self.leaves_more = False

    def __bool__(self) -> bool:
        return bool(self.stretches or self.losses)

    @property
    def size(self) -> int:
        return sum(stretch.size for stretch in self.stretches.values())

    def entries(self) -> Iterable[Entry]:
        return (entry for stretch in self.stretches.values() for entry in stretch.entries)


class WriteBuffer:
    """Entries that wait or are being written, and losses that the journal does not have yet."""

    def __init__(self, limit: int) -> None:
        #: Why entries do not get out of here.
        self.obstacle = "journal: it takes too long to write"
        #: Exchanges lost so far, or not kept wholly.
        self.lost = 0
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting: dict[int, EntryRun] = {}
        self._taken = WriteBatch()
        self._size = 0
        self._losses = LossCount()
        #: Exchanges of which the journal has, or is being given, the head and not the end.
        self._begun: set[int] = set()
        #: Exchanges that were given up and go on, and why they were.
        self._given_up: dict[int, str] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting or self._losses)

    @property
    def waiting(self) -> int:
        """Exchanges of which something waits, but for those that are counted as lost."""
        with self._lock:
            return sum(not stretch.counted for stretch in self._waiting.values())

    def add(self, entry: Entry) -> bool:
        """Put an entry in; False when it is given up, and its exchange with it."""
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
        """Keep nothing more of an exchange, nor what waits of it."""
        with self._lock:
            self._give_up(number, reason, 0)
            if not goes_on:
                self._given_up.pop(number, None)

    def give_up_begun(self, reason: str) -> None:
        """The same for all that have begun in a journal that is lost."""
        with self._lock:
            begun, self._begun = self._begun, set()
            for number in begun:
                self._give_up(number, reason, 0)

    def take(self, most: int) -> WriteBatch:
        """Take out what is to be written next: losses, and entries of about that size."""
        with self._lock:
            portion, room = WriteBatch(), most
            for number, stretch in list(self._waiting.items()):
                # Only what is too large by itself is taken in parts.
                if stretch.size > room and portion:
                    break
                room -= stretch.size
                self._move(number, portion, most)
            portion.losses = self._losses.take()
            portion.leaves_more = bool(self._waiting)
            self._taken = portion
            return portion

    def take_one(self, number: int) -> WriteBatch:
        """Take out what waits of one exchange."""
        with self._lock:
            self._taken = WriteBatch()
            if number in self._waiting:
                self._move(number, self._taken, self._limit)
            return self._taken

    def written(self, portion: WriteBatch) -> None:
        """What was taken is in the journal."""
        with self._lock:
            self._taken = WriteBatch()
            self._size -= portion.size
            self._begun.difference_update(number for number, stretch in portion.stretches.items() if stretch.ends)

    def put_back(self, portion: WriteBatch) -> None:
        """What was taken could not be written."""
        with self._lock:
            self._taken = WriteBatch()
            later, self._waiting = self._waiting, portion.stretches
            self._begun.difference_update(number for number, stretch in portion.stretches.items() if stretch.begins)
            for number, stretch in later.items():
                if number in self._waiting:
                    self._waiting[number].extend(stretch)
                else:
                    self._waiting[number] = stretch
            for loss in portion.losses:
                self._losses.add(loss)

    def missing(self, *, besides_taken: bool = False) -> list[Loss]:
        """What the journal would lack if the recorder ended now; or then, if it had what is taken."""
        with self._lock:
            losses = self._losses.all()
            waiting = list(self._waiting.items())
            if not besides_taken:
                losses += self._taken.losses
                waiting += self._taken.stretches.items()
            numbers = {number for number, stretch in waiting if not stretch.counted}
            if numbers:
                body = sum(stretch.body for _, stretch in waiting)
                losses.append(Loss(_now_us(), WAITING, len(numbers), body))
            return losses

    def _append(self, entry: Entry, size: int, body: int) -> EntryRun:
        stretch = self._waiting.get(entry[1])
        if stretch is None:
            stretch = self._waiting[entry[1]] = EntryRun()
        stretch.append(entry, size, body)
        self._size += size
        return stretch

    def _move(self, number: int, portion: WriteBatch, most: int) -> None:
        stretch = self._waiting.pop(number)
        if stretch.size > most:
            stretch, rest = stretch.split(most)
            if rest.entries:
                self._waiting[number] = rest
        if stretch.begins:
            self._begun.add(number)
        portion.stretches[number] = stretch

    def _give_up(self, number: int, reason: str, body: int) -> None:
        stretch = self._waiting.pop(number, None)
        if stretch is not None:
            self._size -= stretch.size
            body += stretch.body
        if stretch is None or not stretch.ends:
            self._given_up[number] = reason
        self._count(reason, 1, body)
        if number in self._begun:
            # Without it, sealing would wait for the rest of what the journal has.
            closing = ("ending", number, {"how": "stopped", "error": reason})
            self._append(closing, *measure(closing)).counted = True

    def _count(self, reason: str, exchanges: int, size: int) -> None:
        self.lost += exchanges
        self._losses.add(Loss(_now_us(), reason, exchanges, size))


def measure(entry: Entry) -> tuple[int, int]:
    """About how much memory an entry takes, and how many body bytes it holds."""
    kind, _, value = entry
    if kind in ("request", "response"):
        return len(value[1]) + ENTRY_OVERHEAD_BYTES, len(value[1])
    headers = value.get("headers", ()) if isinstance(value, dict) else ()
    return ENTRY_OVERHEAD_BYTES + sum(len(name) + len(text) for name, text in headers), 0


def _now_us() -> int:
    return time.time_ns() // 1000
