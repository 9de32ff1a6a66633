"""Runs reports on the warehouse, under filters.

A report's text (`definition`) decides what it shows; `render` decides how it looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from itertools import zip_longest
from typing import Any

import duckdb

from ..errors import DataError, UsageError
from ..warehouse.query import GROUP_COLUMNS, STORED_PRICES, Filters, Prices, coverage, fetch, showing, single_row
from .definition import GROUPS, Report, Value


@dataclass(frozen=True)
class Table:
    """The result of a report."""

    name: str
    title: str
    columns: list[str]
    rows: list[tuple[Any, ...]]
    filters: dict[str, Any] = field(default_factory=dict)
    coverage: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Value] = field(default_factory=dict)
    help: str = ""
    charts: tuple[str, ...] = ()


def run_report(
    connection: duckdb.DuckDBPyConnection, report: Report, filters: Filters, prices: Prices | None = STORED_PRICES
) -> Table:
    """Run a report. Raises UsageError for what it cannot do or an unknown run, DataError for SQL that fails."""
    check_filters(report, filters)
    values = values_of(report, filters)
    by = filters.by or report.by
    basis = coverage(connection, filters)
    with showing(connection, filters, prices if report.shows_money else None, by):
        try:
            columns, rows = fetch(connection, report.sql, values)
            if report.shows_money:
                basis["cost"] = single_row(connection, "coverage_cost")
        except duckdb.Error as error:
            raise DataError(f"Report {report.file or report.name} failed: {error}") from error
    charts = report.charts
    if report.by:
        columns, rows = _named_groups(columns, rows, by)
        charts = tuple(_named_chart(line, by) for line in charts)
    return Table(report.name, report.title, columns, rows, filters.chosen(), basis, values, report.help, charts)


def values_of(report: Report, filters: Filters) -> dict[str, Value]:
    """Return the report's parameters: those passed, and the defaults of the others.

    Raises UsageError for an unknown, a missing and an unreadable parameter.
    """
    known = {param.name: param for param in report.params}
    if unknown := [name for name in filters.params if name not in known]:
        there = f"It takes: {', '.join(known)}." if known else "It takes none."
        raise UsageError(f"Report {report.name} has no parameter {unknown[0]!r}. {there}")
    values = {name: param.default for name, param in known.items()}
    values |= {name: known[name].read(text) for name, text in filters.params.items()}
    if lacking := [name for name, value in values.items() if value is None]:
        raise UsageError(f"Report {report.name} needs --param {lacking[0]}=..., {known[lacking[0]].help or 'a value'}.")
    return {name: value for name, value in values.items() if value is not None}


def check_filters(report: Report, filters: Filters) -> None:
    """Raise UsageError for filters that this report does not take."""
    if filters.prices_as_of is not None and not report.shows_money:
        raise UsageError(f"Report {report.name} shows no money: leave --prices-as-of out.")
    if filters.other_model is None and report.compares_prices:
        raise UsageError(f"Report {report.name} needs another model, as in --model openai/gpt-4o-mini.")
    if filters.by and not report.by:
        raise UsageError(f"Report {report.name} takes no --by.")
    for name in filters.by:
        if name not in GROUPS:
            raise UsageError(f"--by {name}: there is no such group. There are: {', '.join(GROUPS)}.")
    if len(filters.by) > len(GROUP_COLUMNS) or len(set(filters.by)) < len(filters.by):
        raise UsageError(f"--by takes one name, or two that differ, not {', '.join(filters.by)}.")


def _named_groups(
    columns: list[str], rows: list[tuple[Any, ...]], by: tuple[str, ...]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Rename the columns of groups to the names of their groups, and leave unused ones out; days become dates."""
    names = dict(zip(GROUP_COLUMNS, by, strict=False))
    kept = [at for at, column in enumerate(columns) if column not in GROUP_COLUMNS or column in names]
    days = {at for at in kept if names.get(columns[at]) == "day"}
    return [names.get(columns[at], columns[at]) for at in kept], [
        tuple(_day(row[at]) if at in days else row[at] for at in kept) for row in rows
    ]


def _day(value: Any) -> Any:
    """Return a group as a day; a report of the user's own may have totals among the days."""
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        return value


def _named_chart(line: str, by: tuple[str, ...]) -> str:
    """Put the groups' names into a chart's line; a missing group has no color."""
    for column, name in zip_longest(GROUP_COLUMNS, by):
        line = line.replace(f" color={column}", "") if name is None else line.replace(column, name)
    return line
