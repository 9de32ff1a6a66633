"""Seals journals: turns what recorders wrote into the dataset, and forgets it there once it is on the disk.

The only road from bytes to records. A clean stop, a crash and a running recorder all take it: a batch is numbered,
its records are made, `content` is written, then `losses`, then `exchanges`, then the journal forgets the batch.
Whatever stops that in between, the next pass repeats the batch with the same members under the same names.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from tapeline.addons.tapeline_journal import COMPANIONS, Lock, is_locked
from tapeline.addons.tapeline_ledger import read_ledger
from tapeline.addons.tapeline_paths import DataDirectory
from tapeline.addons.tapeline_privacy import load_salt

from .dataset import Row, write_batch
from .errors import DataError
from .journal import Journal, open_journal_for_sealing
from .question import Content
from .record import CapturedExchange, Record, make_record, unread_record
from .redaction import Redactor, own_format
from .schema import CONTENT, EXCHANGES, LOSSES
from .withholding import withheld_content, without_content

# A pass seals thousands of exchanges a second; one that takes this long hangs.
LOCK_SECONDS = 600.0
# A running recorder's exchanges are sealed together, for few files. Reports do not wait for it: they seal themselves.
FOLLOW_SECONDS = 5.0


@dataclass
class Sealed:
    """What a pass did."""

    exchanges: int = 0
    batches: int = 0
    recorders: int = 0
    losses: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Privacy:
    """What a recording is to keep of what it heard."""

    redactor: Redactor | None
    keeps_content: bool


def privacy_of(about: dict[str, str], directory: DataDirectory) -> Privacy:
    """What a journal says of it."""
    redactor = None
    if about.get("redact") != "none":
        patterns = json.loads(about.get("redact_patterns", "[]"))
        redactor = Redactor(load_salt(directory.salt), tuple(map(own_format, patterns)))
    return Privacy(redactor, about.get("content") != "none")


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
    while not gone.wait(FOLLOW_SECONDS):
        told = _seal_and_report(directory, told)
    _seal_and_report(directory, told)


def _wait_for_end_of_input(gone: threading.Event) -> None:
    sys.stdin.buffer.read()
    gone.set()


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
    recorder_id = journal.about["recorder_id"]
    privacy = privacy_of(journal.about, directory)
    records = [_record(captured, recorder_id, privacy) for captured in journal.exchanges(batch)]
    contents: dict[str, Row] = {}
    for record in records:
        for content in record.contents:
            if content.content_id not in contents:
                row = _content_row(content, record.row["started_at"])
                contents[content.content_id] = row if privacy.keeps_content else withheld_content(row)
    unwritten = journal.unwritten(list(contents))
    new = [row for content_id, row in contents.items() if content_id in unwritten]
    losses = [_loss_row(recorder_id, journal.about["run"], *loss) for loss in journal.losses(batch)]
    name = f"{recorder_id}-{batch:06d}"
    write_batch(directory.dataset(CONTENT.name), CONTENT, name, new, lambda row: row["first_seen_at"])
    write_batch(directory.dataset(LOSSES.name), LOSSES, name, losses, lambda row: row["at"])
    write_batch(
        directory.dataset(EXCHANGES.name),
        EXCHANGES,
        name,
        [record.row for record in records],
        lambda row: row["started_at"],
    )
    journal.forget(batch, list(unwritten))
    total.exchanges += len(records)
    total.batches += 1
    total.losses += sum(row["exchanges"] for row in losses)


def _record(captured: CapturedExchange, recorder_id: str, privacy: Privacy) -> Record:
    """The exchange's record; one that reading fails on is kept as the bytes it is, and holds nothing up."""
    redactor = privacy.redactor
    try:
        record = make_record(captured, recorder_id, redactor)
    except Exception as error:  # noqa: BLE001 - a fault of ours in one exchange must not stop all that follow
        record = unread_record(captured, recorder_id, f"Tapeline could not read it: {error!r}", redactor)
    return record if privacy.keeps_content else without_content(record)


def _content_row(content: Content, first_seen_at: datetime) -> Row:
    return {
        "content_id": content.content_id,
        "kind": content.kind,
        "role": content.role,
        "text": content.text,
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
