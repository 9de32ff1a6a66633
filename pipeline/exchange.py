"""Reads one exchange out of the warehouse whole: the request as it was sent and the answer as it was assembled.

Content that is stored once is put back in its place. How it is shown is `commands`' and `render`'s.
"""

from __future__ import annotations

from typing import Any

import duckdb

from .errors import UsageError
from .flatten import rebuild_completion
from .jsontext import loads
from .question import rebuild_request
from .reports import fetch

Object = dict[str, Any]


def find_exchange(connection: duckdb.DuckDBPyConnection, prefix: str) -> Object:
    """The row of the exchange whose id begins, or ends, so. Raises UsageError when none does, or several do."""
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
    return dict(zip(columns, rows[0], strict=True))


def request_of(connection: duckdb.DuckDBPyConnection, row: Object) -> Any:
    """The request's JSON as it was sent, or its text where it was none; lists that were not stored are missing."""
    return rebuild_request(row, lambda content_id: _content(connection, content_id))


def response_of(row: Object) -> Any:
    """The completion, reassembled; without one the error, and without one the text of the body."""
    completion = rebuild_completion(row)
    if completion is not None:
        return completion
    return loads(row["error_raw"]) if row["error_raw"] is not None else row["response_text"]


def _content(connection: duckdb.DuckDBPyConnection, content_id: str) -> Any:
    found = connection.execute(
        "SELECT json FROM content WHERE content_id = $content_id", {"content_id": content_id}
    ).fetchone()
    return loads(found[0]) if found else None


def latest_exchanges(connection: duckdb.DuckDBPyConnection, after: int | None, most: int) -> tuple[int, list[Object]]:
    """Exchanges in the order of their loading: those after a row number, or without one the last `most`.

    Gives the number to go on from and the rows.
    """
    count = connection.execute("SELECT coalesce(max(rowid), -1) FROM stored.exchanges").fetchone()
    last = int(count[0]) if count else -1
    # A warehouse that was made anew counts its rows anew.
    first = last - most if after is None or after > last else after
    columns, rows = fetch(
        connection,
        "SELECT * FROM exchanges "
        "WHERE exchange_id IN (SELECT exchange_id FROM stored.exchanges WHERE rowid > $first AND rowid <= $last) "
        "ORDER BY started_at, exchange_id",
        {"first": first, "last": last},
    )
    return last, [dict(zip(columns, row, strict=True)) for row in rows]
