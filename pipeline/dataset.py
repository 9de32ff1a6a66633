"""Writes the datasets: Parquet files with an explicit schema, one a batch and UTC day, each whole or not there at all.

It gives columns their types and puts files in their place. What the rows say is decided before, and reading them is the
warehouse's, or any engine's: ids and JSON are plain strings, because engines disagree about anything richer.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from .errors import DataError
from .schema import SCHEMA_VERSION, Column, Dataset

_TOOL_CALL = pl.Struct(
    {"index": pl.Int64, "id": pl.String, "type": pl.String, "name": pl.String, "arguments": pl.String}
)
_CHOICE = pl.Struct(
    {
        "index": pl.Int64,
        "role": pl.String,
        "content": pl.String,
        "refusal": pl.String,
        "reasoning": pl.String,
        "finish_reason": pl.String,
        "tool_calls": pl.List(_TOOL_CALL),
        "logprobs": pl.String,
        "extra": pl.String,
    }
)
#: What a column's kind is in Parquet.
KINDS: dict[str, pl.DataType] = {
    "text": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "flag": pl.Boolean(),
    "time": pl.Datetime("us", "UTC"),
    "money": pl.Decimal(38, 12),
    "texts": pl.List(pl.String),
    "integers": pl.List(pl.Int64),
    "choices": pl.List(_CHOICE),
    "headers": pl.List(pl.Struct({"name": pl.String, "value": pl.String})),
}

# Above it files hardly get smaller, and writing them takes several times as long.
COMPRESSION_LEVEL = 9
# Least and greatest values would take a quarter of a small file, and be found by copying values, however long they are.
# Files are a day's and a batch's: readers that want some of them choose by their names.
_STATISTICS = {"min": False, "max": False, "null_count": True}

Row = dict[str, Any]


def polars_schema(columns: Iterable[Column]) -> pl.Schema:
    """The schema of a dataset's files."""
    return pl.Schema({column.name: KINDS[column.kind] for column in columns})


def write_batch(
    root: Path, dataset: Dataset, name: str, rows: Iterable[Row], day_of: Callable[[Row], datetime]
) -> list[Path]:
    """Write the rows of a batch, a file for each UTC day, under names that a repeated batch would use again.

    Raises DataError when the disk does not take a file; no file is half there then.
    """
    schema = polars_schema(dataset.columns)
    days = _by_day(dataset, rows, day_of)
    paths = []
    for day in sorted(days):
        path = root / f"date={day}" / f"{name}.parquet"
        _write_file(path, pl.DataFrame(days.pop(day), schema=schema, orient="row"))
        paths.append(path)
    return paths


def written_batches(root: Path, recorder_id: str) -> int:
    """The highest number of a batch that a dataset has of a recorder's journal; 0 without one."""
    return max((number for number, _ in _batches(root, recorder_id)), default=0)


def written_values(root: Path, recorder_id: str, column: str) -> set[str]:
    """A column of all batches that a dataset has of a recorder's journal; of files that cannot be read, nothing."""
    values: set[str] = set()
    for _, path in _batches(root, recorder_id):
        with suppress(OSError, pl.exceptions.PolarsError):
            values |= set(pl.read_parquet(path, columns=[column], hive_partitioning=False)[column])
    return values


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a private file so that it is on the disk under its name whole, or not at all. Raises OSError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _by_day(dataset: Dataset, rows: Iterable[Row], day_of: Callable[[Row], datetime]) -> dict[str, list[Row]]:
    days: dict[str, list[Row]] = {}
    integer_lists = [column.name for column in dataset.columns if column.kind == "integers"]
    for row in rows:
        # Of a plain list with millions of events Polars makes one that takes several times the memory.
        lists = {name: pl.Series(row[name], dtype=pl.Int64) for name in integer_lists if row[name] is not None}
        days.setdefault(day_of(row).date().isoformat(), []).append(row | lists)
    return days


def _batches(root: Path, recorder_id: str) -> Iterator[tuple[int, Path]]:
    for path in root.glob(f"date=*/{glob.escape(recorder_id)}-*.parquet"):
        number = path.stem.removeprefix(f"{recorder_id}-")
        if number.isdecimal():
            yield int(number), path


def _write_file(path: Path, frame: pl.DataFrame) -> None:
    buffer = BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        statistics=_STATISTICS,
        metadata={"tapeline.schema_version": str(SCHEMA_VERSION)},
    )
    try:
        for folder in (path.parent.parent, path.parent):
            # One by one: `parents` would give the folder in between the mode that the umask leaves.
            folder.mkdir(mode=0o700, exist_ok=True)
        write_whole(path, buffer.getbuffer())
        # The journal forgets what it holds once this returns: the folders' names must be on the disk by then, too.
        for folder in (path.parent.parent, path.parent.parent.parent):
            _sync_folder(folder)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}. Free or change the disk, then load.") from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows keeps names with their files and opens no folder.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
