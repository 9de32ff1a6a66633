"""Keeps prices and costs in the warehouse up to date with the recording, the user's file and the list.

Prices are looked up for each kind of call, not for each call, and joined with the calls. The usual prices and costs are
in `stored.rates` and `stored.costs`; those for one query are in temporary tables of its connection.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

import duckdb

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..errors import DataError, UsageError
from ..warehouse import database
from ..warehouse.query import Prices
from . import provider_tables
from .entries import BUILT_IN
from .price_book import PriceBook
from .price_list import list_version
from .prices_file import FILE_NAME, PricesFile, read_prices_file
from .rates import Call, NoPrice, Price, row_of

_CALLS = (
    "SELECT DISTINCT host, port, provider, coalesce(model, ''), coalesce(response_model, ''), "
    "coalesce(served_service_tier, '') FROM stored.exchanges WHERE rowid >= $first"
)
_KNOWN = "SELECT DISTINCT host, port, provider, model, response_model, tier FROM stored.rates"
# Exchanges that are priced together: so memory does not grow with the recording.
_MOST_AT_ONCE = 500_000


def own_prices_file(directory: DataDirectory) -> PricesFile | None:
    """Return the file of prices in the data directory, if any. Raises UsageError for a mistake in it."""
    path = directory.root / FILE_NAME
    return read_prices_file(path) if path.exists() else None


def is_up_to_date(connection: duckdb.DuckDBPyConnection, file: PricesFile | None) -> bool:
    """Whether the stored prices are those of this file and the list, for all loaded exchanges."""
    sql = "SELECT prices, files = (SELECT count(*) FROM stored.files) FROM stored.pricing"
    try:
        row = connection.execute(sql).fetchone()
    except duckdb.CatalogException as error:
        raise DataError(
            "Another version of Tapeline made the warehouse: it must be written to serve this one."
        ) from error
    return row == (_identity(file), True)


def bring_up_to_date(directory: DataDirectory, file: PricesFile | None) -> None:
    """Look up prices and work out costs of all loaded exchanges that have none yet."""
    with database.querying(directory) as connection:
        if is_up_to_date(connection, file):
            return
    with database.changing(directory) as connection:
        connection.execute("BEGIN")
        if _prices_of(connection) != _identity(file):
            connection.execute("DELETE FROM stored.rates; DELETE FROM stored.costs")
        first = _first_without_cost(connection)
        calls = _calls(connection, f"{_CALLS} EXCEPT {_KNOWN}", first)
        _insert(connection, "stored.rates", _rows(PriceBook(file), calls))
        _work_out(connection, "stored.costs", "stored.rates", first=first)
        connection.execute("DELETE FROM stored.pricing")
        connection.execute(
            "INSERT INTO stored.pricing SELECT $prices, count(*) FROM stored.files", {"prices": _identity(file)}
        )
        connection.execute("COMMIT")


def prices_for(
    connection: duckdb.DuckDBPyConnection,
    file: PricesFile | None,
    as_of: datetime | None = None,
    model: str | None = None,
) -> Prices:
    """Work out the costs by a file, on another day and on another model, in tables that this connection alone has.

    The result is passed to the queries that show them. Raises UsageError for a model without known prices.
    """
    costs = _costs_table(connection, file, as_of)
    return Prices(costs, None if model is None else _what_if_table(connection, file, model, as_of))


def _costs_table(connection: duckdb.DuckDBPyConnection, file: PricesFile | None, as_of: datetime | None) -> str | None:
    """Return the name of a table of costs; None where those that the warehouse has stored are right."""
    if is_up_to_date(connection, file):
        if as_of is None:
            return None
        connection.execute("CREATE TEMP VIEW rates_here AS FROM stored.rates")
    else:
        _make_rates(connection, "rates_here", _rows(PriceBook(file), _calls(connection)))
    connection.execute("CREATE TEMP TABLE costs_here AS FROM stored.costs LIMIT 0")
    _work_out(connection, "costs_here", "rates_here", as_of)
    return "costs_here"


def _what_if_table(
    connection: duckdb.DuckDBPyConnection, file: PricesFile | None, model: str, as_of: datetime | None
) -> str:
    """Return the name of a table of what every call would have cost on another model.

    Cached tokens, or writing them, cost what other input costs if they have no listed price: the model has no cache.
    """
    try:
        prices = PriceBook(file).prices_of(model)
    except NoPrice as reason:
        raise UsageError(
            f"--model {model}: {reason}. Write provider/model (openai/gpt-4o-mini), or give its prices in {FILE_NAME}."
        ) from reason
    rows = [row_of(call, _without_cache(price)) for call in _calls(connection) for price in prices]
    _make_rates(connection, "rates_of_model", rows)
    connection.execute("CREATE TEMP TABLE costs_on_model AS FROM stored.no_what_if LIMIT 0")
    _work_out(connection, "costs_on_model", "rates_of_model", as_of, columns="number, cost_usd AS what_if_cost_usd")
    return "costs_on_model"


def _first_without_cost(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of the first exchange without costs; all before it have some."""
    (first,) = connection.execute("SELECT coalesce(max(number) + 1, 0) FROM stored.costs").fetchall()[0]
    return int(first)


def _work_out(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    rates: str,
    as_of: datetime | None = None,
    *,
    columns: str = "*",
    first: int = 0,
) -> None:
    """Write the costs of the exchanges from `first` on to a table, by the rates in another table."""
    (end,) = connection.execute("SELECT coalesce(max(rowid) + 1, 0) FROM stored.exchanges").fetchall()[0]
    for start in range(first, end, _MOST_AT_ONCE):
        connection.execute(
            f"INSERT INTO {table} BY NAME SELECT {columns} FROM stored.computed('{rates}', $as_of, $first, $end)",  # noqa: S608
            {"as_of": as_of, "first": start, "end": start + _MOST_AT_ONCE},
        )


def _make_rates(connection: duckdb.DuckDBPyConnection, name: str, rows: list[dict[str, Any]]) -> None:
    """Make a temporary table of rates."""
    connection.execute(f"CREATE TEMP TABLE {name} AS FROM stored.rates LIMIT 0")
    _insert(connection, name, rows)


def _prices_of(connection: duckdb.DuckDBPyConnection) -> str | None:
    row = connection.execute("SELECT prices FROM stored.pricing").fetchone()
    return row[0] if row else None


def _identity(file: PricesFile | None) -> str:
    """Return a hash of the list, the file and Tapeline's own tables of prices."""
    ours = {name: value for name, value in vars(provider_tables).items() if name.isupper()}
    return sha256(repr((list_version(), file and file.version, BUILT_IN, ours)).encode()).hexdigest()


def _calls(connection: duckdb.DuckDBPyConnection, sql: str = _CALLS, first: int = 0) -> list[Call]:
    """Return the kinds of calls from exchange `first` on."""
    return [Call(*row) for row in connection.execute(sql, {"first": first}).fetchall()]


def _rows(book: PriceBook, calls: list[Call]) -> list[dict[str, Any]]:
    return [row_of(call, price) for call in calls for price in book.prices(call)]


def _without_cache(price: Price) -> Price:
    units = price.units
    cache_write = units.input if units.cache_write is None else units.cache_write
    cache_write_1h = cache_write if units.cache_write_1h is None else units.cache_write_1h
    cached = units.input if units.cached is None else units.cached
    return replace(price, units=replace(units, cached=cached, cache_write=cache_write, cache_write_1h=cache_write_1h))


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    columns = ", ".join(f'unnest(${name}) AS "{name}"' for name in rows[0])
    values = {name: [row[name] for row in rows] for name in rows[0]}
    connection.execute(f"INSERT INTO {table} BY NAME SELECT {columns}", values)
