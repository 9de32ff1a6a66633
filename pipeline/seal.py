"""Seals journals: turns what recorders wrote into the dataset, and forgets it there once it is on the disk.

The only road from bytes to records. A clean stop, a crash and a running recorder all take it: a batch is numbered,
its records are made, `content` is written, then `losses`, then `exchanges`, then the journal forgets the batch.
Whatever stops that in between, the next pass repeats the batch with the same members under the same names.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter

from tapeline.addons.tapeline_journal import COMPANIONS, Lock, is_locked
from tapeline.addons.tapeline_ledger import read_ledger
from tapeline.addons.tapeline_paths import DataDirectory

from .dataset import Row, write_batch
from .errors import DataError
from .journal import Journal, open_journal_for_sealing
from .privacy import keeps_less_than_heard, privacy_of
from .question import Content
from .schema import CONTENT, EXCHANGES, LOSSES
from .withholding import withheld_content

# A pass seals thousands of exchanges a second; one that takes this long hangs.
LOCK_SECONDS = 600.0
# How often the journals are looked at while a recorder runs, and how long exchanges wait that fill no batch. A file has
# 40 kB about its columns, whatever it holds: few are small. Reports do not wait for it: they seal themselves.
FOLLOW_SECONDS = 5.0
PATIENCE_SECONDS = 300.0
# Text stands in `content` twice, for search and in the message's JSON; nobody has read what is longer than a book.
MAX_TEXT_CHARACTERS = 1_000_000


@dataclass
class Sealed:
    """What a pass did."""

    exchanges: int = 0
    batches: int = 0
    recorders: int = 0
    losses: int = 0
    problems: tuple[str, ...] = ()


def seal(directory: DataDirectory) -> Sealed:
    """Seal all that can be sealed now. Raises DataError when the disk does not take it, or another pass hangs."""
    total = Sealed()
    if not directory.journals.is_dir() or not (directory.recorder_ids() or directory.bare_ledgers()):
        return total
    lock = Lock(directory.lock("seal"))
    if not lock.take(LOCK_SECONDS):
        raise DataError(f"Another sealing of {directory.root} has not ended for {LOCK_SECONDS:.0f} s: end it.")
    try:
        for recorder_id in (*directory.recorder_ids(), *directory.bare_ledgers()):
            try:
                _seal_recorder(directory, recorder_id, total)
            except DataError as error:
                total.problems += (str(error),)
            except (OSError, sqlite3.Error) as error:
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
    try:
        with closing(open_journal_for_sealing(directory.journal(recorder_id))) as journal:
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
        commit = _seal_journal(directory, recorder_id, total, alive=alive)
    if not alive:
        # Everything in it is on the disk, and nobody writes to it any more.
        _seal_ledger(directory, recorder_id, commit, total)
        _remove_journal(directory, recorder_id)


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


def _seal_batch(directory: DataDirectory, journal: Journal, batch: int, total: Sealed) -> None:
    exchanges, contents = _read_batch(directory, journal, batch)
    unwritten = journal.unwritten(list(contents))
    new = [row for content_id, row in contents.items() if content_id in unwritten]
    contents.clear()
    recorder_id = journal.about["recorder_id"]
    losses = [_loss_row(recorder_id, journal.about["run"], *loss) for loss in journal.losses(batch)]
    count, lost = len(exchanges), sum(row["exchanges"] for row in losses)
    wipe = any(keeps_less_than_heard(row) for row in exchanges)
    name = f"{recorder_id}-{batch:06d}"
    for dataset, rows, time_column in (
        (CONTENT, new, "first_seen_at"),
        (LOSSES, losses, "at"),
        (EXCHANGES, exchanges, "started_at"),
    ):
        write_batch(directory.dataset(dataset.name), dataset, name, _handed_over(rows), itemgetter(time_column))
    journal.forget(batch, list(unwritten), wipe=wipe)
    total.exchanges += count
    total.batches += 1
    total.losses += lost


def _read_batch(directory: DataDirectory, journal: Journal, batch: int) -> tuple[list[Row], dict[str, Row]]:
    """The exchanges of a batch, and the content that they share by its id."""
    privacy = privacy_of(journal.about, directory)
    exchanges: list[Row] = []
    contents: dict[str, Row] = {}
    for captured in journal.exchanges(batch):
        record = privacy.record(captured, journal.about["recorder_id"])
        exchanges.append(record.row)
        for content in record.contents:
            if content.content_id not in contents:
                row = _content_row(content, record.row["started_at"])
                contents[content.content_id] = row if privacy.keeps_content else withheld_content(row)
    return exchanges, contents


def _handed_over(rows: list[Row]) -> Iterator[Row]:
    """The rows, kept no longer than whoever takes them does: one may be as large as a request."""
    rows.reverse()
    while rows:
        yield rows.pop()


def _content_row(content: Content, first_seen_at: datetime) -> Row:
    return {
        "content_id": content.content_id,
        "kind": content.kind,
        "role": content.role,
        "text": content.text[:MAX_TEXT_CHARACTERS] if content.text is not None else None,
        "json": content.json,
        "bytes": len(content.json.encode()),
        "media_type": content.media_type,
        "payload_bytes": content.payload_bytes,
        "first_seen_at": first_seen_at,
    }


def _seal_ledger(directory: DataDirectory, recorder_id: str, commit: int | None, total: Sealed) -> None:
    """Seal what a recorder that is gone has counted beside its journal, which may be gone as well."""
    notes = read_ledger(directory.ledger(recorder_id), commit)
    if notes is None:
        return
    rows = [_loss_row(recorder_id, notes.run, f"ledger-{n}", *loss) for n, loss in enumerate(notes.losses, 1)]
    # The journal numbers its batches from 1: one that has to be repeated gives the same file again.
    write_batch(directory.dataset(LOSSES.name), LOSSES, f"{recorder_id}-{0:06d}", rows, lambda row: row["at"])
    total.losses += sum(row["exchanges"] for row in rows)


def _loss_row(recorder_id: str, run: str, number: int | str, at_us: int, reason: str, exchanges: int, size: int) -> Row:
    return {
        "loss_id": f"{recorder_id}-{number}",
        "recorder_id": recorder_id,
        "run": run,
        "at": datetime.fromtimestamp(at_us / 1_000_000, UTC),
        "reason": reason,
        "exchanges": exchanges,
        "bytes": size,
    }


def _remove_journal(directory: DataDirectory, recorder_id: str) -> None:
    # The ledger first: without its journal, what it says would count.
    directory.ledger(recorder_id).unlink(missing_ok=True)
    for path in (directory.journal(recorder_id), directory.presence(recorder_id)):
        for suffix in ("", *COMPANIONS):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
