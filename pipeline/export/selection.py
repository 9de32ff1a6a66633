"""Yields whole exchanges under filters, one after the other, with request and response rebuilt.

Each format decides what an exchange becomes; this module counts why exchanges are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import duckdb

from ..apis.registry import api_of
from ..apis.rows import WarehouseRow
from ..reports.render import json_text
from ..warehouse.exchanges import content_ids, named_rows, response_of
from ..warehouse.query import Filters, Prices, check_run, showing
from ..wire.json_text import loads

# Exchanges held in memory together. They often repeat one another's messages, which are then fetched only once.
BATCH_EXCHANGES = 100

#: Why exchanges are left out, as the command prints it.
WITHOUT_CONTENT = "recorded without content"
REDACTED = "with names in place of credentials"
INCOMPLETE_REQUEST = "with an incomplete request"


@dataclass(frozen=True)
class Exchange:
    """A row of `exchanges`, with its request and response rebuilt."""

    row: WarehouseRow
    request: Any
    response: Any
    #: Whether all content that the request refers to was found.
    is_complete: bool


@dataclass
class Count:
    """How many of the selected exchanges were exported, and how many left out for which reason."""

    exported: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def summary(self) -> str:
        """Return the counts in one line."""
        counted = sorted(self.left_out.items(), key=lambda pair: (-pair[1], pair[0]))
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counted)
        left_out = f"; left out {self.left_out.total():,}: {reasons}" if reasons else ""
        return f"{self.exported:,} exchanges{left_out}"


def exchanges(
    connection: duckdb.DuckDBPyConnection, filters: Filters, prices: Prices | None = None
) -> Iterator[Exchange]:
    """Return the exchanges under the filters in the order of their start; without prices they have no costs.

    Raises UsageError for a run that does not exist, before anything is read.
    """
    if filters.run is not None:
        check_run(connection, filters.run)
    return _selected(connection, filters, prices)


def _selected(connection: duckdb.DuckDBPyConnection, filters: Filters, prices: Prices | None) -> Iterator[Exchange]:
    with showing(connection, filters, prices):
        yield from _rebuilt(connection)


def _rebuilt(connection: duckdb.DuckDBPyConnection) -> Iterator[Exchange]:
    result = connection.execute("SELECT * EXCLUDE (day) FROM exchanges ORDER BY started_at, exchange_id")
    columns = [column[0] for column in result.description or []]
    # A second cursor fetches content while rows are still being fetched with the first.
    with closing(connection.cursor()) as cursor:
        while rows := result.fetchmany(BATCH_EXCHANGES):
            named = named_rows(columns, rows)
            contents = _Contents(cursor, named)
            for row in named:
                yield contents.exchange(row)


def reason_against_request(exchange: Exchange) -> str | None:
    """Return why the request cannot be sent again as it was; None if it can."""
    row, request = exchange.row, exchange.request
    if not row["content_kept"]:
        return WITHOUT_CONTENT
    if row["request_redactions"]:
        return REDACTED
    messages = request.get("messages") if isinstance(request, dict) else None
    are_messages = isinstance(messages, list) and messages and all(isinstance(message, dict) for message in messages)
    return None if are_messages and exchange.is_complete else INCOMPLETE_REQUEST


def json_line(value: Any) -> str:
    """Return a line of JSON Lines, safe also for readers that split lines at Unicode's line separators."""
    return json_text(value).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029") + "\n"


class _Contents:
    """The content of a few exchanges: messages and tools are fetched together, payloads when they are met."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, rows: list[WarehouseRow]) -> None:
        self._connection = connection
        self._texts: dict[str, str | None] = {}
        self._is_missing = False
        self._fetch({content_id for row in rows for content_id in content_ids(row)})

    def exchange(self, row: WarehouseRow) -> Exchange:
        """Rebuild one of the exchanges, as far as its content is there."""
        self._is_missing = False
        request = api_of(row).rebuild_request(row, self._value)
        return Exchange(row, request, response_of(row), is_complete=not self._is_missing)

    def _value(self, content_id: str) -> Any:
        if content_id not in self._texts:
            self._fetch({content_id})
        text = self._texts[content_id]
        self._is_missing |= text is None
        return None if text is None else loads(text)

    def _fetch(self, ids: set[str]) -> None:
        self._texts |= dict.fromkeys(ids)
        rows = self._connection.execute(
            "SELECT content_id, json FROM content WHERE content_id IN (SELECT unnest($ids))",
            {"ids": sorted(ids)},
        ).fetchall()
        self._texts |= dict(rows)
