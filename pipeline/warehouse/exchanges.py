"""Reads whole exchanges out of the warehouse: the request as it was sent, the response put together.

Content that is stored once is put back in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import duckdb

from ..apis.registry import api_of
from ..apis.rows import ExchangeRow, RequestColumns, WarehouseRow
from ..errors import UsageError
from ..wire.base64_payloads import payload_ids
from ..wire.json_text import loads
from .query import ALL, STORED_PRICES, Filters, Prices, fetch, showing


def find_exchange(connection: duckdb.DuckDBPyConnection, prefix: str, prices: Prices = STORED_PRICES) -> WarehouseRow:
    """Return the exchange whose id starts or ends with this text. Raises UsageError if none does, or several do."""
    with showing(connection, ALL, prices):
        columns, rows = fetch(
            connection,
            "SELECT * FROM stored.priced WHERE starts_with(exchange_id, $part) OR ends_with(exchange_id, $part) "
            "ORDER BY exchange_id LIMIT 2",
            {"part": prefix.lower()},
        )
    if not rows:
        raise UsageError(f"There is no exchange {prefix!r}. `tapeline tail` and `tapeline sql` show their ids.")
    if len(rows) > 1:
        raise UsageError(f"Several exchanges match {prefix!r}: give more of the id.")
    return named_rows(columns, rows)[0]


def request_of(connection: duckdb.DuckDBPyConnection, row: ExchangeRow) -> Any:
    """Return the request's JSON as it was sent, or its text where it was not JSON; lists not stored are missing."""
    return api_of(row).rebuild_request(row, lambda content_id: _content(connection, content_id))


def response_of(row: ExchangeRow) -> Any:
    """Return the completion put together; without one the error, and without an error the text of the body."""
    completion = api_of(row).rebuild_response(row)
    if completion is not None:
        return completion
    return loads(row["error_raw"]) if row["error_raw"] is not None else row["response_text"]


def _content(connection: duckdb.DuckDBPyConnection, content_id: str) -> Any:
    found = connection.execute(
        "SELECT json FROM content WHERE content_id = $content_id", {"content_id": content_id}
    ).fetchone()
    return loads(found[0]) if found else None


def latest_exchanges(
    connection: duckdb.DuckDBPyConnection, after: int | None, most: int, prices: Prices = STORED_PRICES
) -> tuple[int, list[WarehouseRow]]:
    """Return exchanges in the order of loading: those after a row number, or without one the last `most`.

    Also returns the row number to continue from.
    """
    count = connection.execute("SELECT coalesce(max(rowid), -1) FROM stored.exchanges").fetchone()
    last = int(count[0]) if count else -1
    # A rebuilt warehouse counts its rows from 0 again.
    first = last - most if after is None or after > last else after
    with showing(connection, ALL, prices):
        columns, rows = fetch(
            connection,
            "SELECT * FROM exchanges "
            "WHERE exchange_id IN (SELECT exchange_id FROM stored.exchanges WHERE rowid > $first AND rowid <= $last) "
            "ORDER BY started_at, exchange_id",
            {"first": first, "last": last},
        )
    return last, named_rows(columns, rows)


def read_rows(connection: duckdb.DuckDBPyConnection, run: str, prices: Prices | None = None) -> list[WarehouseRow]:
    """Return the exchanges of a run in their order; `*` in its name stands for anything.

    Without prices their costs are NULL. Raises UsageError for a run that does not exist.
    """
    with showing(connection, Filters(run=run), prices):
        columns, rows = fetch(connection, "SELECT * FROM exchanges ORDER BY started_at, exchange_id")
    return named_rows(columns, rows)


def read_contents(connection: duckdb.DuckDBPyConnection, rows: Sequence[ExchangeRow]) -> dict[str, str]:
    """Return the JSON of all content of these requests, payloads included, by its id."""
    ids: set[str] = set()
    for row in rows:
        ids |= content_ids(row)
    contents = _json_of(connection, ids)
    return contents | _json_of(connection, set().union(*map(payload_ids, contents.values())))


def _json_of(connection: duckdb.DuckDBPyConnection, ids: set[str]) -> dict[str, str]:
    _, found = fetch(
        connection,
        "SELECT content_id, json FROM content WHERE content_id IN (SELECT unnest($ids)) AND json IS NOT NULL",
        {"ids": sorted(ids)},
    )
    return dict(found)


def content_ids(row: RequestColumns) -> set[str]:
    """Return the ids of what `content` keeps of a request."""
    lists = {content_id for content_id in (row["tools_id"], row["functions_id"]) if content_id is not None}
    return lists | set(row["message_ids"] or ())


def named_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[WarehouseRow]:
    """Return rows of the view `exchanges`, all of its columns, by their names."""
    return [cast(WarehouseRow, dict(zip(columns, row, strict=True))) for row in rows]
