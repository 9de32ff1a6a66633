"""Filters and prices, which are passed to each query as values, and what its figures rest on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import duckdb

from ..errors import UsageError
from .sql_files import sql_text

#: Filters that every report takes; the views read them as variables.
FILTERS = ("run", "model", "provider", "since", "until")
#: Columns of the view `grouped`: each takes the name of what it groups by.
GROUP_COLUMNS = ("group_1", "group_2")


@dataclass(frozen=True)
class Filters:
    """Which exchanges a query is about. Names may hold `*`; times are UTC, and `until` is excluded.

    `by` groups a report that can be grouped; `params` are the report's own values, as they were typed. Reports on money
    also print `prices_as_of`, the day whose prices count, and `other_model`, the model to compare with.
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
        """Return the filters that are set."""
        names = (*FILTERS, "prices_as_of", "other_model")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


#: Every exchange.
ALL = Filters()


@dataclass(frozen=True)
class Prices:
    """Where a query reads costs: temporary tables of its connection, which `pricing.stored_costs` fills.

    None stands for the costs that the warehouse has stored, and for no other model to compare with.
    """

    costs: str | None = None
    what_if_costs: str | None = None


#: The costs that the warehouse has stored.
STORED_PRICES = Prices()


@contextmanager
def showing(
    connection: duckdb.DuckDBPyConnection,
    filters: Filters = ALL,
    prices: Prices | None = None,
    by: tuple[str, ...] = (),
) -> Iterator[None]:
    """Let the views show what the filters select, for the queries of this block and no others.

    Without prices the views show no costs, and are as fast as if there were none. `by` names the groups of the view
    `grouped`. Raises UsageError for a run that does not exist.
    """
    if filters.run is not None:
        check_run(connection, filters.run)
    values = _variables(filters, prices, by)
    for name, value in values.items():
        # The name of a variable is ours; its value is passed, not pasted.
        connection.execute(f"SET VARIABLE {name} = $value", {"value": value})
    try:
        yield
    finally:
        for name in values:
            connection.execute(f"RESET VARIABLE {name}")


def _variables(filters: Filters, prices: Prices | None, by: tuple[str, ...]) -> dict[str, Any]:
    """Return the variables that the views read, with their values."""
    chosen = filters.chosen()
    names = {name: _pattern(value) if isinstance(value, str) else value for name, value in chosen.items()}
    groups = dict(zip_longest(GROUP_COLUMNS, by))
    costs = {"costs": prices and prices.costs, "what_if_costs": prices and prices.what_if_costs}
    return {name: names.get(name) for name in FILTERS} | groups | costs | {"without_costs": prices is None}


def _pattern(name: str) -> str:
    """Return a GLOB pattern in which only `*` is special: names of models hold brackets."""
    return re.sub(r"[\[?\\]", r"[\g<0>]", name)


def read_time(name: str, text: str) -> datetime:
    """Read a time as people type it, as UTC if it has no zone. Raises UsageError that names the option."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{name} {text!r} is no time: write 2026-11-21 or 2026-11-21T10:30.") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def coverage(connection: duckdb.DuckDBPyConnection, filters: Filters) -> dict[str, Any]:
    """Return what figures under these filters rest on."""
    with showing(connection, filters):
        return single_row(connection, "coverage")


def single_row(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    """Run a query of the SQL files that has one row, and return that by column."""
    columns, rows = fetch(connection, sql_text(name))
    return dict(zip(columns, rows[0], strict=True))


def fetch(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the column names and all rows of a query. Raises UsageError for a text without a query."""
    result = connection.execute(sql, parameters) if parameters else connection.execute(sql)
    if result is None:
        raise UsageError("The query holds no SQL.")
    columns = [column[0] for column in result.description or []]
    return columns, result.fetchall()


def check_run(connection: duckdb.DuckDBPyConnection, run: str) -> None:
    """Raise UsageError for a run that does not exist; `*` in its name stands for anything."""
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
