"""Writes the datasets: Parquet files with an explicit schema, one a batch and UTC day, each whole or not there at all.

It gives columns their types and puts files in their place. What the rows say is decided before, and reading them is the
warehouse's, or any engine's: ids and JSON are plain strings, because engines disagree about anything richer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
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

# A batch of exchanges, without their content, is smaller; larger are one that holds a large body, and content.
MAX_STATISTICS_BYTES = 16 * 1024 * 1024

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


def _by_day(dataset: Dataset, rows: Iterable[Row], day_of: Callable[[Row], datetime]) -> dict[str, list[Row]]:
    days: dict[str, list[Row]] = {}
    integer_lists = [column.name for column in dataset.columns if column.kind == "integers"]
    for row in rows:
        # Of a plain list with millions of events Polars makes one that takes several times the memory.
        lists = {name: pl.Series(row[name], dtype=pl.Int64) for name in integer_lists if row[name] is not None}
        days.setdefault(day_of(row).date().isoformat(), []).append(row | lists)
    return days


def _write_file(path: Path, frame: pl.DataFrame) -> None:
    buffer = BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        # Least and greatest values are found by copying them, however long they are.
        statistics=frame.estimated_size() < MAX_STATISTICS_BYTES,
        metadata={"tapeline.schema_version": str(SCHEMA_VERSION)},
    )
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        for folder in (path.parent.parent, path.parent):
            # One by one: `parents` would give the folder in between the mode that the umask leaves.
            folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        # The journal forgets what it holds once this returns: the names must be on the disk by then, too.
        for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
            _sync_folder(folder)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error.strerror}. Free or change the disk, then load.") from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows keeps names with their files and opens no folder.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
