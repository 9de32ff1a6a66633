"""Seals beside a running recorder, until the recorder is gone."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from contextlib import closing, suppress

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import Lock, is_locked

from ..errors import DataError
from .journal import open_journal_to_look
from .seal import seal

# How often the journals are checked while a recorder runs, and how long exchanges wait that do not fill a batch. Each
# file has 30 kB about its columns, so few files are better than many. Reports do not wait: they seal by themselves.
FOLLOW_SECONDS = 5.0


PATIENCE_SECONDS = 300.0


def follow(directory: DataDirectory) -> None:
    """Seal beside a running recorder until it is gone, which shows as the end of standard input."""
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
        return False  # Another process is sealing.
    try:
        return any(_fills_a_batch(directory, recorder_id) for recorder_id in directory.recorder_ids())
    finally:
        lock.release()


def _fills_a_batch(directory: DataDirectory, recorder_id: str) -> bool:
    if not is_locked(directory.recorder_lock(recorder_id)):
        return False  # A dead recorder's journal is not opened before it is sealed: that would remove signs of damage.
    try:
        with closing(open_journal_to_look(directory.journal(recorder_id))) as journal:
            return journal.fills_a_batch()
    except (DataError, sqlite3.Error):
        return True  # Sealing reports what is wrong with it.


def _seal_and_report(directory: DataDirectory, told: tuple[str, ...]) -> tuple[str, ...]:
    """Seal once, and print the problems that the last pass did not have; return all problems."""
    try:
        problems = seal(directory).problems
    except DataError as error:
        problems = (str(error),)
    except (OSError, sqlite3.Error) as error:
        problems = (f"{directory.root} could not be sealed and is tried again: {error}.",)
    # The log is on the same disk, which may be full.
    with suppress(OSError):
        for problem in problems:
            if problem not in told:
                stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                sys.stderr.write(f"{stamp} {problem}\n")
        sys.stderr.flush()
    return problems
