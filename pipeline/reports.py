"""Finds reports, reads their help, and runs them on the warehouse under filters.

A report is one SELECT in one `.sql` file. The comment at its head is its help: the first line is the title. What a
report shows is decided by its text, and how it looks by `render`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import duckdb

from .errors import DataError, UsageError
from .sqltext import sql_text

#: Filters that every report takes, as variables that the views read.
FILTERS = ("run", "model", "provider", "since", "until")


@dataclass(frozen=True)
class Report:
    """One report: its name, the question it answers, the rest of its help, and its SQL."""

    name: str
    title: str
    help: str
    sql: str


@dataclass(frozen=True)
class Filters:
    """What a report looks at. Names may hold `*`; times are UTC, `until` is excluded."""

    run: str | None = None
    model: str | None = None
    provider: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def chosen(self) -> dict[str, Any]:
        """Those that are set."""
        return {name: value for name in FILTERS if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Table:
    """A report's answer."""

    name: str
    title: str
    columns: list[str]
    rows: list[tuple[Any, ...]]
    filters: dict[str, Any] = field(default_factory=dict)
    coverage: dict[str, Any] = field(default_factory=dict)


def all_reports() -> list[Report]:
    """The built-in reports, by name."""
    folder = files("tapeline.queries")
    return [
        read_report(entry.name.removesuffix(".sql"), entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    ]


def find_report(name: str) -> Report:
    """The report of that name. Raises UsageError that lists the names."""
    reports = {report.name: report for report in all_reports()}
    if name not in reports:
        raise UsageError(f"There is no report {name!r}. There are: {', '.join(reports)}.")
    return reports[name]


def read_report(name: str, text: str) -> Report:
    """A report from its text: leading `--` lines are the help, the rest is the query."""
    lines = text.splitlines()
    head = []
    for line in lines:
        if not line.startswith("--"):
            break
        head.append(line.removeprefix("--").removeprefix(" "))
    title, _, rest = "\n".join(head).partition("\n")
    return Report(name, title.strip(), rest.strip(), "\n".join(lines[len(head) :]).strip())


def run_report(connection: duckdb.DuckDBPyConnection, report: Report, filters: Filters) -> Table:
    """Run a report. Raises UsageError for a run that is not there, DataError where the SQL fails."""
    chosen = set_filters(connection, filters)
    try:
        columns, rows = fetch(connection, report.sql)
    except duckdb.Error as error:
        raise DataError(f"Report {report.name} failed: {error}") from error
    return Table(report.name, report.title, columns, rows, chosen, coverage(connection))


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
    columns, rows = fetch(connection, sql_text("coverage"))
    return dict(zip(columns, rows[0], strict=True))


def fetch(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and all rows of a query."""
    result = connection.execute(sql, parameters) if parameters else connection.execute(sql)
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
