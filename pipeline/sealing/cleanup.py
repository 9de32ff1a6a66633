"""Takes away what is not needed any more: sealed journals with what lies beside them, and what killed processes left.

Only who holds the lock of sealing may call it: nobody else writes then what it takes for left over.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import COMPANIONS, is_locked

from ..dataset.schema import DATASETS

# A recorder that starts takes its lock and then makes its journal, all within moments.
_STARTING_SECONDS = 3600.0


def remove_journal(directory: DataDirectory, recorder_id: str) -> None:
    """Remove a journal that is sealed to its end and closed, and that nobody writes to any more.

    Killed at any moment, this leaves a journal that is the same as before, or none.
    """
    # Without its journal, what the ledger says would count.
    directory.ledger(recorder_id).unlink(missing_ok=True)
    _remove(_with_beside(directory.recorder_lock(recorder_id)))
    _remove(_with_beside(directory.journal(recorder_id)))


def move_aside(directory: DataDirectory, recorder_id: str) -> Path:
    """Give a damaged journal another name, under which nobody seals it again; gives its new path.

    Killed at any moment, this leaves a journal that has to be salvaged again, or what `clear_journals` ends.
    """
    journal = directory.journal(recorder_id)
    corrupt = _corrupt(journal)
    _remove(_with_beside(directory.recorder_lock(recorder_id)))
    journal.replace(corrupt)
    _move_log(journal)
    directory.damage_note(recorder_id).unlink(missing_ok=True)
    return corrupt


def clear_journals(directory: DataDirectory) -> None:
    """Remove what lies in the folder of journals without a journal: who wrote it was killed."""
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
