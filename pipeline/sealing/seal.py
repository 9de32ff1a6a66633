"""Seals journals: turns what recorders wrote into the dataset, and forgets it there once it is on the disk.

The only road from bytes to records. A clean stop, a crash and a running recorder all take it: a batch is numbered,
its records are made, `content` is written, then `losses`, then `exchanges`, then the journal forgets the batch.
Whatever stops that in between, the next pass repeats the batch with the same members under the same names.

A damaged journal is recoverd once its recorder is gone: what can be read is sealed, the rest is counted.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import Lock, is_locked
from tapeline.addons.tapeline_recorder.loss_ledger import read_ledger

from ..dataset.files import write_batch
from ..dataset.schema import LOSSES
from ..errors import DataError
from .batch import Written, loss_row, make_batch, write
from .cleanup import clear_datasets, clear_journals, remove_journal
from .journal import Journal, open_journal_for_sealing
from .policy import keeps_less_than_heard, policy_of
from .recovery import damage_found, recover

# A pass seals thousands of exchanges a second; one that takes this long hangs.
LOCK_SECONDS = 600.0


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


def _seal_recorder(directory: DataDirectory, recorder_id: str, total: Sealed) -> None:
    alive = is_locked(directory.recorder_lock(recorder_id))
    commit = None
    if directory.journal(recorder_id).exists():
        if not alive and (damage := damage_found(directory, recorder_id)) is not None:
            total.recorders += 1
            total.problems += (recover(directory, recorder_id, damage, total.add),)
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
    privacy = policy_of(journal.about, directory)
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
