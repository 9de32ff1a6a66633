"""Seals journals: makes records of what recorders wrote, and deletes them from the journal once they are on the disk.

Clean stops, crashes and running recorders all take this one way. A batch is numbered, its records are made, `content`
is written, then `losses`, then `exchanges`, and then the journal forgets the batch. If anything stops a pass, the next
pass repeats the batch with the same members under the same names.
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
from .policy import keeps_less_than_journal, policy_of
from .recovery import recover_if_damaged

# A pass seals thousands of exchanges a second; one that takes this long hangs.
LOCK_SECONDS = 600.0


@dataclass
class Sealed:
    """Counts of one pass."""

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
    """Seal all exchanges that can be sealed now. Raises DataError when the disk is full or another pass hangs."""
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
    if not alive and (report := recover_if_damaged(directory, recorder_id, total.add)) is not None:
        total.recorders += 1
        total.problems += (report,)
    elif directory.journal(recorder_id).exists():
        commit = _seal_journal(directory, recorder_id, total, alive=alive)
    if not alive:
        # All of the journal is in the dataset, and nobody writes to it any more.
        _seal_ledger(directory, recorder_id, commit, total)
        remove_journal(directory, recorder_id)
        clear_datasets(directory)


def _seal_journal(directory: DataDirectory, recorder_id: str, total: Sealed, *, alive: bool) -> int:
    """Seal what has ended, or all if the recorder is gone. Returns the number of the journal's last commit."""
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
                break  # what ended meanwhile waits for the next pass, which makes fewer and larger files
        total.recorders += total.batches > before
        return journal.last_commit
    finally:
        journal.close()


def _seal_batch(directory: DataDirectory, journal: Journal, number: int, total: Sealed) -> None:
    recorder_id, run = journal.about["recorder_id"], journal.about["run"]
    policy = policy_of(journal.about, directory)
    batch = make_batch(recorder_id, run, journal.exchanges(number), journal.losses(number), policy)
    unwritten = journal.unwritten(list(batch.contents))
    for content_id in batch.contents.keys() - unwritten:
        del batch.contents[content_id]
    wipe = any(keeps_less_than_journal(row) for row in batch.exchanges)
    total.add(write(directory, f"{recorder_id}-{number:06d}", batch))
    journal.forget(number, list(unwritten), wipe=wipe)


def _seal_ledger(directory: DataDirectory, recorder_id: str, commit: int | None, total: Sealed) -> None:
    """Seal the losses that a recorder counted beside its journal; recorder and journal may both be gone."""
    notes = read_ledger(directory.ledger(recorder_id), commit)
    if notes is None:
        return
    rows = [loss_row(recorder_id, notes.run, f"ledger-{n}", *loss) for n, loss in enumerate(notes.losses, 1)]
    # Journals number their batches from 1, so 0 is free, and a repeated pass writes the same file again.
    write_batch(directory.dataset(LOSSES.name), LOSSES, f"{recorder_id}-{0:06d}", rows, lambda row: row["at"])
    total.losses += sum(row["exchanges"] for row in rows)
