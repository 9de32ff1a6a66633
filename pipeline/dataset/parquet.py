"""The datasets' rows as Parquet: the types of their columns, and files with an explicit schema, as bytes.

Ids and JSON are plain strings, because engines disagree about anything richer. Where the files lie is `dataset`'s. This
module alone needs Polars, which takes longer to import than most commands take in all: who has nothing to write or to
read does without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

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
PARQUET_TYPES: dict[str, pl.DataType] = {
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

# The highest would make files of short chats 8 % smaller, and take sixteen times as long to write them.
COMPRESSION_LEVEL = 9
# Least and greatest values would take a quarter of a small file, and be found by copying values, however long they are.
# Files are a day's and a batch's: readers that want some of them choose by their names.
_STATISTICS = {"min": False, "max": False, "null_count": True}


def polars_schema(columns: Iterable[Column]) -> pl.Schema:
    """The schema of a dataset's files."""
    return pl.Schema({column.name: PARQUET_TYPES[column.kind] for column in columns})


def compact(dataset: Dataset, row: dict[str, Any]) -> dict[str, Any]:
    """The row with its long lists of integers as Polars holds them: of plain ones it takes several times the memory."""
    lists = (column.name for column in dataset.columns if column.kind == "integers" and row[column.name] is not None)
    return row | {name: pl.Series(row[name], dtype=pl.Int64) for name in lists}


def file_of(dataset: Dataset, rows: list[dict[str, Any]]) -> memoryview:
    """The bytes of a file with these rows, which are gone then: one may be as large as a request."""
    frame = pl.DataFrame(rows, schema=polars_schema(dataset.columns), orient="row")
    rows.clear()
    buffer = BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        statistics=_STATISTICS,
        metadata={"tapeline.schema_version": str(SCHEMA_VERSION)},
    )
    return buffer.getbuffer()


def column_of(path: Path, column: str) -> set[str]:
    """The values of a file's column; of a file that cannot be read, none."""
    try:
        return set(pl.read_parquet(path, columns=[column], hive_partitioning=False)[column])
    except (OSError, pl.exceptions.PolarsError):
        return set()
