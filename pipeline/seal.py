"""Seals journals: turns what recorders wrote into the dataset, and forgets it there once it is on the disk.

The only road from bytes to records. A clean stop, a crash and a running recorder all take it: a batch is numbered,
its records are made, `content` is written, then `losses`, then `exchanges`, then the journal forgets the batch.
Whatever stops that in between, the next pass repeats the batch with the same members under the same names.

A damaged journal is rescued once its recorder is gone: what can be read is sealed, the rest is counted.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass

from tapeline.addons.tapeline_journal import Lock, is_locked
from tapeline.addons.tapeline_ledger import read_ledger
from tapeline.addons.tapeline_paths import DataDirectory

from .batch import Written, loss_row, make_batch, write
from .dataset import write_batch
from .errors import DataError
from .journal import Journal, open_journal_for_sealing, open_journal_to_look
from .leftovers import clear_datasets, clear_journals, remove_journal
from .privacy import keeps_less_than_heard, privacy_of
from .rescue import damage_found, rescue
from .schema import LOSSES

# A pass seals thousands of exchanges a second; one that takes this long hangs.
LOCK_SECONDS = 600.0
# How often the journals are looked at while a recorder runs, and how long exchanges wait that fill no batch. A file has
# 30 kB about its columns, whatever it holds: few are small. Reports do not wait for it: they seal themselves.
FOLLOW_SECONDS = 5.0
PATIENCE_SECONDS = 300.0


@dataclass
class Sealed:
    """What a pass did."""

    exchanges: int = 0
    batches: int = 0
    recorders: int = 0
    losses: int = 0
    problems: tuple[str, ...] = ()

    def add(self, written: Written) -> None:
        self.exchanges += written.exchanges
        self.batches += 1
        self.losses += written.losses


def seal(directory: DataDirectory) -> Sealed:
    """Seal all that can be sealed now. Raises DataError when the disk does not take it, or another pass hangs."""
    total = Sealed()
    if not directory.journals.is_dir() or not any(directory.journals.iterdir()):
        return total
    lock = Lock(directory.lock("seal"))
    if not lock.take(LOCK_SECONDS):
        raise DataError(f"Another sealing of {directory.root} has not ended for {LOCK_SECONDS:.0f} s: end it.")
    try:
        clear_journals(directory)
        for recorder_id in (*directory.recorder_ids(), *directory.bare_ledgers()):
            try:
                _seal_recorder(directory, recorder_id, total)
            except DataError as error:
                total.problems += (str(error),)
            except (OSError, sqlite3.Error, ValueError, TypeError) as error:
                total.problems += (
                    f"{directory.journal(recorder_id)} could not be sealed and is tried again: {error}.",
                )
    finally:
        lock.release()
    return total


def follow(directory: DataDirectory) -> None:
    """Seal beside a running recorder until it is gone, which the end of standard input tells."""
    gone = threading.Event()
    threading.Thread(target=_wait_for_end_of_input, args=(gone,), daemon=True).start()
    told: tuple[str, ...] = ()
    sealed_at = time.monotonic()
    while not gone.wait(FOLLOW_SECONDS):
        if time.monotonic() - sealed_at >= PATIENCE_SECONDS or _is_batch_waiting(directory):
            told = _seal_and_report(directory, told)
            sealed_at = time.monotonic()
    _seal_and_report(directory, told)


def _wait_for_end_of_input(gone: threading.Event) -> None:
    sys.stdin.buffer.read()
    gone.set()


def _is_batch_waiting(directory: DataDirectory) -> bool:
    lock = Lock(directory.lock("seal"))
    if not lock.take():
        return False  # Somebody seals.
    try:
        return any(_fills_a_batch(directory, recorder_id) for recorder_id in directory.recorder_ids())
    finally:
        lock.release()


def _fills_a_batch(directory: DataDirectory, recorder_id: str) -> bool:
    if not is_locked(directory.presence(recorder_id)):
        return False  # What a dead recorder has left is not looked at before it is sealed: signs of damage would go.
    try:
        with closing(open_journal_to_look(directory.journal(recorder_id))) as journal:
            return journal.fills_a_batch()
    except (DataError, sqlite3.Error):
        return True  # Sealing says what is wrong with it.


def _seal_and_report(directory: DataDirectory, told: tuple[str, ...]) -> tuple[str, ...]:
    """Seal once, and say what was wrong, but for what was told the last time; gives all that was wrong."""
    try:
        problems = seal(directory).problems
    except DataError as error:
        problems = (str(error),)
    except (OSError, sqlite3.Error) as error:
        problems = (f"{directory.root} could not be sealed and is tried again: {error}.",)
    # The log lies on the disk that may be full.
    with suppress(OSError):
        for problem in problems:
            if problem not in told:
                stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                sys.stderr.write(f"{stamp} {problem}\n")
        sys.stderr.flush()
    return problems


def _seal_recorder(directory: DataDirectory, recorder_id: str, total: Sealed) -> None:
    alive = is_locked(directory.presence(recorder_id))
    commit = None
    if directory.journal(recorder_id).exists():
        if not alive and (damage := damage_found(directory, recorder_id)) is not None:
            total.recorders += 1
            total.problems += (rescue(directory, recorder_id, damage, total.add),)
        else:
            commit = _seal_journal(directory, recorder_id, total, alive=alive)
    if not alive:
        # Everything in it is on the disk, and nobody writes to it any more.
        _seal_ledger(directory, recorder_id, commit, total)
        remove_journal(directory, recorder_id)
        clear_datasets(directory)


def _seal_journal(directory: DataDirectory, recorder_id: str, total: Sealed, *, alive: bool) -> int:
    """Seal what can be sealed of a journal; gives the number of its last commit."""
    journal = open_journal_for_sealing(directory.journal(recorder_id))
    try:
        before = total.batches
        for repeated in journal.open_batches():
            _seal_batch(directory, journal, repeated, total)
        finished, running = journal.waiting()
        goal = total.exchanges + finished + (0 if alive else running)
        while (batch := journal.number_batch(unfinished=not alive)) is not None:
            _seal_batch(directory, journal, batch, total)
            if total.exchanges >= goal:
                break  # what has ended meanwhile is the next pass's, which makes fewer and larger files of it
        total.recorders += total.batches > before
        return journal.last_commit
    finally:
        journal.close()


def _seal_batch(directory: DataDirectory, journal: Journal, number: int, total: Sealed) -> None:
    recorder_id, run = journal.about["recorder_id"], journal.about["run"]
    privacy = privacy_of(journal.about, directory)
    batch = make_batch(recorder_id, run, journal.exchanges(number), journal.losses(number), privacy)
    unwritten = journal.unwritten(list(batch.contents))
    for content_id in batch.contents.keys() - unwritten:
        del batch.contents[content_id]
    wipe = any(keeps_less_than_heard(row) for row in batch.exchanges)
    total.add(write(directory, f"{recorder_id}-{number:06d}", batch))
    journal.forget(number, list(unwritten), wipe=wipe)


def _seal_ledger(directory: DataDirectory, recorder_id: str, commit: int | None, total: Sealed) -> None:
    """Seal what a recorder that is gone has counted beside its journal, which may be gone as well."""
    notes = read_ledger(directory.ledger(recorder_id), commit)
    if notes is None:
        return
    rows = [loss_row(recorder_id, notes.run, f"ledger-{n}", *loss) for n, loss in enumerate(notes.losses, 1)]
    # The journal numbers its batches from 1: one that has to be repeated gives the same file again.
    write_batch(directory.dataset(LOSSES.name), LOSSES, f"{recorder_id}-{0:06d}", rows, lambda row: row["at"])
    total.losses += sum(row["exchanges"] for row in rows)
