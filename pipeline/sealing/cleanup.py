"""Removes files that nobody needs: sealed journals with their companions, and unfinished files of killed processes.

The caller must hold the lock of sealing: then no other process writes files that look unfinished.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import COMPANIONS, is_locked

from ..dataset.schema import DATASETS

# A recorder that starts takes its lock and makes its journal within moments.
_STARTING_SECONDS = 3600.0


def remove_journal(directory: DataDirectory, recorder_id: str) -> None:
    """Remove a journal that is sealed completely, closed, and not written to any more.

    If it is killed at any moment, the journal is as before, or gone.
    """
    # Without its journal, the losses in the ledger would count.
    directory.ledger(recorder_id).unlink(missing_ok=True)
    _remove(_with_beside(directory.recorder_lock(recorder_id)))
    _remove(_with_beside(directory.journal(recorder_id)))


def move_aside(directory: DataDirectory, recorder_id: str) -> Path:
    """Give a damaged journal another name, so that nobody seals it again; return its new path.

    If it is killed at any moment, the journal has to be recovered again, or `clear_journals` finishes the work.
    """
    journal = directory.journal(recorder_id)
    corrupt = _corrupt(journal)
    _remove(_with_beside(directory.recorder_lock(recorder_id)))
    journal.replace(corrupt)
    _move_log(journal)
    directory.damage_note(recorder_id).unlink(missing_ok=True)
    return corrupt


def clear_journals(directory: DataDirectory) -> None:
    """Remove files in the folder of journals that belong to no journal: their writers were killed."""
    _remove(directory.journals.glob(".*.tmp"))
    found: dict[str, list[Path]] = {}
    for path in sorted(directory.journals.iterdir()):
        found.setdefault(path.name.partition(".")[0], []).append(path)
    for recorder_id, paths in found.items():
        journal = directory.journal(recorder_id)
        if _corrupt(journal) in paths:
            _move_log(journal)
            directory.damage_note(recorder_id).unlink(missing_ok=True)
        elif (
            not {journal, directory.ledger(recorder_id)} & set(paths)
            and all(map(_is_old, paths))
            and not is_locked(directory.recorder_lock(recorder_id))
        ):
            _remove(paths)


def clear_datasets(directory: DataDirectory) -> None:
    """Remove files of the dataset that were never finished."""
    for name in DATASETS:
        _remove(directory.dataset(name).glob("date=*/.*.tmp"))


def _corrupt(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.corrupt")


def _move_log(journal: Path) -> None:
    for path, moved in zip(_with_beside(journal), _with_beside(_corrupt(journal)), strict=True):
        if path.exists():
            path.replace(moved)


def _with_beside(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + suffix) for suffix in COMPANIONS)]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _STARTING_SECONDS
