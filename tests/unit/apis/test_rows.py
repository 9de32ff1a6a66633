"""The Python types of rows have the columns of the schema: the same names, order and types."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import polars as pl
import pytest

from tapeline.pipeline.apis import rows
from tapeline.pipeline.dataset.parquet import PARQUET_TYPES
from tapeline.pipeline.dataset.schema import COSTS, EXCHANGES, LINKS, Column

TYPES: dict[str, Any] = {
    "text": str,
    "integer": int,
    "number": float,
    "flag": bool,
    "time": datetime,
    "money": Decimal,
    "rate": Decimal,
    "texts": list[str],
    "integers": list[int],
    "choices": list[rows.Choice],
    "headers": list[rows.Header],
}


def without_none(hint: Any) -> Any:
    """The type of a column's values, whether or not it can be NULL."""
    members = [member for member in get_args(hint) if member is not NoneType]
    return members[0] if NoneType in get_args(hint) else hint


def columns_of(row_type: Any) -> list[tuple[str, Any]]:
    return [(name, without_none(hint)) for name, hint in get_type_hints(row_type).items()]


def wanted(columns: tuple[Column, ...]) -> list[tuple[str, Any]]:
    return [(column.name, TYPES[column.kind]) for column in columns]


@pytest.mark.parametrize(
    ("row_type", "columns"),
    [
        (rows.ExchangeRow, EXCHANGES.columns),
        (rows.LinkColumns, LINKS),
        (rows.CostColumns, COSTS),
        (rows.WarehouseRow, (*EXCHANGES.columns, *LINKS, *COSTS)),
    ],
)
def test_a_row_type_has_the_columns_of_the_schema(row_type: Any, columns: tuple[Column, ...]) -> None:
    assert columns_of(row_type) == wanted(columns)


@pytest.mark.parametrize(
    "group",
    [
        rows.OriginColumns,
        rows.RequestColumns,
        rows.CompletionColumns,
        rows.ResponseColumns,
        rows.ErrorColumns,
        rows.UsageColumns,
        rows.TimeColumns,
    ],
)
def test_a_group_of_columns_is_part_of_the_row(group: Any) -> None:
    hints = get_type_hints(rows.ExchangeRow)
    assert {name: hints[name] for name in get_type_hints(group)} == get_type_hints(group)


def polars_type(hint: Any) -> Any:
    hint = without_none(hint)
    if get_origin(hint) is list:
        return pl.List(polars_type(get_args(hint)[0]))
    if hint in (str, int):
        return {str: pl.String, int: pl.Int64}[hint]
    return pl.Struct({name: polars_type(member) for name, member in get_type_hints(hint).items()})


@pytest.mark.parametrize("kind", ["choices", "headers"])
def test_the_structs_have_the_fields_of_the_files(kind: str) -> None:
    assert polars_type(TYPES[kind]) == PARQUET_TYPES[kind]


def test_a_row_of_nulls_has_all_columns() -> None:
    assert {**rows.all_null(rows.ExchangeRow)} == {column.name: None for column in EXCHANGES.columns}
