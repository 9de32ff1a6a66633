"""Counts losses, and keeps the count in a side file while the journal cannot be written.

The file is made at its full size when a recording starts, so that a disk that is full later still takes what is written
over it. It holds two notes. A note lists what the journal lacks after a commit, and counts as long as that commit is
the journal's last one. The note for the next commit is written before that commit, in the other half of the file. So
every loss is in the journal or in the note that counts, and never in both, whenever the recorder is killed.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

# Reasons that keep changing must not fill the memory: beyond this number they are counted together.
MAX_REASONS = 10
MAX_REASON_CHARACTERS = 200
OTHER_REASONS = "other faults"
# Half of the file: room for that many reasons with every character escaped, and for the label of the run.
NOTE_BYTES = 16 * 1024


class Loss(NamedTuple):
    """Losses of one kind of fault; `at_us` is the time of the last one, in microseconds since 1970."""

    at_us: int
    reason: str
    exchanges: int
    bytes: int


class LossCount:
    """Losses by reason: a fault that goes on for days takes no more room than one that came once."""

    def __init__(self) -> None:
        self._by_reason: dict[str, Loss] = {}

    def __bool__(self) -> bool:
        return bool(self._by_reason)

    def add(self, loss: Loss) -> None:
        reason = loss.reason[:MAX_REASON_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
        if reason not in self._by_reason and len(self._by_reason) >= MAX_REASONS - 1:
            reason = OTHER_REASONS
        known = self._by_reason.get(reason, Loss(0, reason, 0, 0))
        self._by_reason[reason] = Loss(
            max(known.at_us, loss.at_us), reason, known.exchanges + loss.exchanges, known.bytes + loss.bytes
        )

    def all(self) -> list[Loss]:
        return list(self._by_reason.values())

    def take(self) -> list[Loss]:
        """Return all losses, and start counting from zero."""
        losses = self.all()
        self._by_reason.clear()
        return losses


class Ledger:
    """The side file of a running recorder. Its methods do not raise for a full disk: the caller tries again anyway."""

    def __init__(self, path: Path, run: str) -> None:
        self.path = path
        self._run = run
        self._lock = threading.Lock()
        self._descriptor: int | None = None

    def open(self) -> None:
        """Make the file. Raises OSError."""
        self.close()
        descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            os.write(descriptor, b"\n" * (2 * NOTE_BYTES))
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def is_there(self) -> bool:
        """Whether the file still has its name."""
        return self._descriptor is not None and has_name(os.fstat(self._descriptor), self.path)

    def note(self, commit: int, losses: list[Loss]) -> None:
        """Write down what the journal lacks after that commit."""
        note = json.dumps({"commit": commit, "run": self._run, "losses": losses}, ensure_ascii=False)
        text = note.encode("utf-8", "replace")
        self._write(commit % 2, b"%08x %b\n" % (zlib.crc32(text), text))

    def clear(self) -> None:
        """Drop both notes: the journal lacks nothing."""
        for half in (0, 1):
            self._write(half, b"\n")

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Close the file and remove it."""
        self.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _write(self, half: int, line: bytes) -> None:
        with self._lock, suppress(OSError):
            if self._descriptor is not None and len(line) <= NOTE_BYTES:
                os.lseek(self._descriptor, half * NOTE_BYTES, os.SEEK_SET)
                os.write(self._descriptor, line)


class Notes(NamedTuple):
    """What a recorder that is gone left in its side file."""

    run: str
    losses: list[Loss]


def read_ledger(path: Path, commit: int | None) -> Notes | None:
    """Return the note that counts after a commit, or the newest one; None if the journal lacks nothing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    found = None
    for half in (data[:NOTE_BYTES], data[NOTE_BYTES:]):
        note = _parse(half.partition(b"\n")[0])
        if (
            note is not None
            and commit in (None, note["commit"])
            and (found is None or note["commit"] > found["commit"])
        ):
            found = note
    return None if found is None else Notes(found["run"], [Loss(*loss) for loss in found["losses"]])


def has_name(status: os.stat_result, path: Path) -> bool:
    """Whether the file with this status is the one under that name."""
    try:
        return os.path.samestat(status, path.stat())
    except OSError:
        return False


def _parse(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    if not text or checksum != b"%08x" % zlib.crc32(text):
        return None
    note: dict[str, Any] = json.loads(text)
    return note
