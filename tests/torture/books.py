"""What clients and the provider write down of each exchange, to be compared with what the recorder kept.

Times are of the monotonic clock. The books know nothing of Tapeline: they say what was really sent and received.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Entry:
    """One exchange, as its client saw it."""

    marker: str
    #: Which recorder it went through: one after another, from 0.
    life: int
    asked_at: float
    #: When a piece of the answer was read, and how many bytes of it had come by then.
    received: list[tuple[float, int]] = field(default_factory=list)
    #: When the client knew that it was over, in whatever way.
    ended_at: float | None = None

    @property
    def kind(self) -> str:
        return self.marker.partition("-")[0]

    def note_bytes(self, at: float, size: int) -> None:
        """A piece of the answer's body came."""
        total = self.received[-1][1] if self.received else 0
        self.received.append((at, total + size))


class Books:
    """All exchanges, and when each life of the recorder was ended."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.asked: Counter[str] = Counter()
        self.killed_at: dict[int, float] = {}
        self.stopped_at: dict[int, float] = {}
        self._lock = threading.Lock()

    def open_entry(self, kind: str, life: int, asked_at: float) -> Entry:
        """A client is about to ask. The marker, which no other exchange has, goes with its request."""
        with self._lock:
            entry = Entry(f"{kind}-{len(self.entries):06d}", life, asked_at)
            self.entries.append(entry)
        return entry

    def note_asked(self, marker: str) -> None:
        """A request reached the provider."""
        self.asked[marker] += 1

    def end_of(self, life: int) -> float:
        """When a life of the recorder was ended, by a kill or by asking it to stop."""
        return self.killed_at.get(life, self.stopped_at.get(life, float("inf")))
