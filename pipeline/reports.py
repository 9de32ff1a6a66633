"""Runs reports on the warehouse, under filters.

What a report shows is decided by its text (`report_text`), and how it looks by `render`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import zip_longest
from typing import Any

import duckdb

from .errors import DataError, UsageError
from .report_text import GROUPS, Report, Value
from .sqltext import sql_text

#: Filters that every report takes, as variables that the views read.
FILTERS = ("run", "model", "provider", "since", "until")
#: Columns of the view `grouped`: they take the name of what stands in them.
GROUP_COLUMNS = ("group_1", "group_2")


@dataclass(frozen=True)
class Filters:
    """What a report looks at. Names may hold `*`; times are UTC, `until` is excluded.

    `by` groups a report that can be grouped, `params` are values of its own, as they were typed. For reports that show
    money: `prices_as_of` is the day whose prices count, `other_model` the one to compare with. The connection has to
    show these prices; `pricing.stored` sees to that.
    """

    run: str | None = None
    model: str | None = None
    provider: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    by: tuple[str, ...] = ()
    prices_as_of: datetime | None = None
    other_model: str | None = None
    params: dict[str, str] = field(default_factory=dict)

    def chosen(self) -> dict[str, Any]:
        """Those that are set."""
        names = (*FILTERS, "prices_as_of", "other_model")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Table:
    """A report's answer."""

    name: str
    title: str
    columns: list[str]
    rows: list[tuple[Any, ...]]
    filters: dict[str, Any] = field(default_factory=dict)
    coverage: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Value] = field(default_factory=dict)
    help: str = ""
    charts: tuple[str, ...] = ()


def run_report(connection: duckdb.DuckDBPyConnection, report: Report, filters: Filters) -> Table:
    """Run a report. Raises UsageError for what it cannot do or an unknown run, DataError for SQL that fails."""
    check_filters(report, filters)
    values = values_of(report, filters)
    by = filters.by or report.by
    chosen = set_filters(connection, filters)
    for number, name in enumerate(GROUP_COLUMNS):
        connection.execute(f"SET VARIABLE {name} = $name", {"name": by[number] if number < len(by) else None})
    basis = coverage(connection)
    try:
        look_at_prices(connection, report.shows_money)
        columns, rows = fetch(connection, report.sql, values)
        if report.shows_money:
            basis["cost"] = _row(connection, "coverage_cost")
    except duckdb.Error as error:
        raise DataError(f"Report {report.file or report.name} failed: {error}") from error
    charts = report.charts
    if report.by:
        columns, rows = _named_groups(columns, rows, by)
        charts = tuple(_named_chart(line, by) for line in charts)
    return Table(report.name, report.title, columns, rows, chosen, basis, values, report.help, charts)


def values_of(report: Report, filters: Filters) -> dict[str, Value]:
    """The report's parameters, those given and the defaults of the others.

    Raises UsageError for one that it does not have, one that it lacks, and one that cannot be read.
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
    """Raises UsageError for what this report cannot do."""
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


def look_at_prices(connection: duckdb.DuckDBPyConnection, wanted: bool) -> None:
    """Let the views show costs, or let them be as quick as if there were none."""
    connection.execute("SET VARIABLE without_costs = $without", {"without": not wanted})


def _named_groups(
    columns: list[str], rows: list[tuple[Any, ...]], by: tuple[str, ...]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The groups' columns under the groups' names, days as days; one that nothing is grouped by is left out."""
    names = dict(zip(GROUP_COLUMNS, by, strict=False))
    kept = [at for at, column in enumerate(columns) if column not in GROUP_COLUMNS or column in names]
    days = {at for at in kept if names.get(columns[at]) == "day"}
    return [names.get(columns[at], columns[at]) for at in kept], [
        tuple(_day(row[at]) if at in days else row[at] for at in kept) for row in rows
    ]


def _day(value: Any) -> Any:
    """The day that a group is; a report of the user's own may have totals among the days."""
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        return value


def _named_chart(line: str, by: tuple[str, ...]) -> str:
    """A chart's line under the groups' names; a group that there is not gives no color."""
    for column, name in zip_longest(GROUP_COLUMNS, by):
        line = line.replace(f" color={column}", "") if name is None else line.replace(column, name)
    return line


def set_filters(connection: duckdb.DuckDBPyConnection, filters: Filters) -> dict[str, Any]:
    """Set the views' variables; gives those that were chosen."""
    chosen = filters.chosen()
    if filters.run is not None:
        _check_run(connection, filters.run)
    for name in FILTERS:
        value = chosen.get(name)
        pattern = _pattern(value) if isinstance(value, str) else value
        # A variable's name is ours; its value is passed, not pasted.
        connection.execute(f"SET VARIABLE {name} = $value", {"value": pattern})
    return chosen


def _pattern(name: str) -> str:
    """A GLOB pattern in which `*` alone means more than itself: model names hold brackets."""
    return re.sub(r"[\[?\\]", r"[\g<0>]", name)


def read_time(name: str, text: str) -> datetime:
    """A time as people type it; UTC if it has no zone. Raises UsageError that calls it by its name."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{name} {text!r} is no time: write 2026-11-21 or 2026-11-21T10:30.") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def coverage(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What the figures under the filters that are set rest on."""
    look_at_prices(connection, wanted=False)
    basis = _row(connection, "coverage")
    look_at_prices(connection, wanted=True)
    return basis


def _row(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    columns, rows = fetch(connection, sql_text(name))
    return dict(zip(columns, rows[0], strict=True))


def fetch(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and all rows of a query. Raises UsageError for a text that holds none."""
    result = connection.execute(sql, parameters) if parameters else connection.execute(sql)
    if result is None:
        raise UsageError("The query holds no SQL.")
    columns = [column[0] for column in result.description or []]
    return columns, result.fetchall()


def _check_run(connection: duckdb.DuckDBPyConnection, run: str) -> None:
    matches = connection.execute(
        "SELECT 1 FROM (SELECT run FROM stored.exchanges UNION ALL SELECT run FROM stored.losses) "
        "WHERE run GLOB $run LIMIT 1",
        {"run": _pattern(run)},
    ).fetchone()
    if not matches:
        rows = connection.execute("SELECT run FROM stored.exchanges GROUP BY run ORDER BY min(started_at)").fetchall()
        raise UsageError(f"There is no run {run!r}. {_listed([name for (name,) in rows])}")


def _listed(runs: Iterable[str], most: int = 10) -> str:
    names = list(runs)
    if not names:
        return "Nothing is recorded yet."
    more = f" and {len(names) - most} older ones (see `tapeline runs`)" if len(names) > most else ""
    return f"There are: {', '.join(names[-most:])}{more}."
