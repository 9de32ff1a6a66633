"""Writes the datasets' files: one a batch and UTC day, each whole or not there at all.

`parquet` makes their bytes; the warehouse, or any engine, reads them.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from ..atomic_write import sync_folder, write_whole
from ..errors import DataError
from .schema import Dataset

Row = dict[str, Any]


def write_batch(
    root: Path, dataset: Dataset, name: str, rows: Iterable[Row], day_of: Callable[[Row], datetime]
) -> list[Path]:
    """Write the rows of a batch, a file for each UTC day, under names that a repeated batch would use again.

    Raises DataError if the disk does not take a file; no file is ever half there.
    """
    from .parquet import compact, file_of

    days: dict[str, list[Row]] = {}
    for row in rows:
        days.setdefault(day_of(row).date().isoformat(), []).append(compact(dataset, row))
    paths = []
    for day in sorted(days):
        path = root / f"date={day}" / f"{name}.parquet"
        _write_file(path, file_of(dataset, days.pop(day)))
        paths.append(path)
    return paths


def written_batches(root: Path, recorder_id: str) -> int:
    """Return the highest number of a recorder's batches in a dataset; 0 without one."""
    return max((number for number, _ in _batches(root, recorder_id)), default=0)


def written_values(root: Path, recorder_id: str, column: str) -> set[str]:
    """Return the values of a column in a recorder's batches; files that cannot be read are skipped."""
    from .parquet import column_of

    return set().union(*(column_of(path, column) for _, path in _batches(root, recorder_id)))


def _batches(root: Path, recorder_id: str) -> Iterator[tuple[int, Path]]:
    for path in root.glob(f"date=*/{glob.escape(recorder_id)}-*.parquet"):
        number = path.stem.removeprefix(f"{recorder_id}-")
        if number.isdecimal():
            yield int(number), path


def _write_file(path: Path, data: memoryview) -> None:
    try:
        for folder in (path.parent.parent, path.parent):
            # One by one, because `parents` would make the folder in between with the umask's mode.
            folder.mkdir(mode=0o700, exist_ok=True)
        write_whole(path, data, durable=True)
        # The journal forgets the batch once this returns, so the folders' names must be on the disk, too.
        for folder in (path.parent.parent, path.parent.parent.parent):
            sync_folder(folder)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}. Free or change the disk, then load.") from error
