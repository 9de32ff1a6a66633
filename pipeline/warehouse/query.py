"""Filters, a query under them, and what its figures rest on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb

from ..errors import UsageError
from .sql_files import sql_text

#: Filters that every report takes, as variables that the views read.
FILTERS = ("run", "model", "provider", "since", "until")


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


def look_at_prices(connection: duckdb.DuckDBPyConnection, wanted: bool) -> None:
    """Let the views show costs, or let them be as quick as if there were none."""
    connection.execute("SET VARIABLE without_costs = $without", {"without": not wanted})


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
    basis = single_row(connection, "coverage")
    look_at_prices(connection, wanted=True)
    return basis


def single_row(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
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
