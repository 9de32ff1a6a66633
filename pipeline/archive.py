"""Reads a recording out of the warehouse whole, to be answered from or asked again.

All of it comes into memory at once: who serves holds no file that another process wants to write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import duckdb

from .errors import UsageError
from .exchange import request_of
from .jsontext import dumps
from .matching import RecordedRequest, RecordedRequests, recorded_request
from .payloads import payload_ids
from .redaction import unsalted
from .reports import Filters, fetch, set_filters

Object = dict[str, Any]


@dataclass(frozen=True)
class Archive:
    """A recording as it is served."""

    requests: RecordedRequests
    #: Role and text of each message, by its id.
    texts: dict[str, tuple[str | None, str]]
    models: list[str]
    exchanges: int


def read_rows(connection: duckdb.DuckDBPyConnection, run: str) -> list[Object]:
    """The exchanges of a run in their order; `*` in its name stands for anything. Raises UsageError."""
    set_filters(connection, Filters(run=run))
    columns, rows = fetch(connection, "SELECT * FROM exchanges ORDER BY started_at, exchange_id")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def read_archive(connection: duckdb.DuckDBPyConnection, run: str) -> Archive:
    """All that serving a run needs. Raises UsageError for a run that is not there or was recorded without content."""
    rows = read_rows(connection, run)
    if without := sum(row["content_kept"] is False for row in rows):
        raise UsageError(
            f"Run {run!r} cannot be served: {without:,} of its {len(rows):,} exchanges were recorded without content."
        )
    recorded = [_recorded(connection, row) for row in rows]
    return Archive(RecordedRequests(recorded), _texts(connection, rows), _models(rows), len(rows))


def _recorded(connection: duckdb.DuckDBPyConnection, row: Object) -> RecordedRequest:
    if not row["request_redactions"] or row["request_params"] is None:
        return recorded_request(row)
    return recorded_request(row, unsalted(dumps(request_of(connection, row))))


def _texts(connection: duckdb.DuckDBPyConnection, rows: list[Object]) -> dict[str, tuple[str | None, str]]:
    ids = sorted({content_id for row in rows for content_id in row["message_ids"] or ()})
    _, found = fetch(
        connection,
        "SELECT content_id, role, text FROM stored.content WHERE content_id IN (SELECT unnest($ids))",
        {"ids": ids},
    )
    return {content_id: (role, text or "") for content_id, role, text in found}


def _models(rows: Iterable[Object]) -> list[str]:
    return sorted({row["model"] or row["response_model"] for row in rows} - {None})


def read_contents(connection: duckdb.DuckDBPyConnection, rows: list[Object]) -> dict[str, str]:
    """The JSON of all that these requests hold, payloads included, by its id."""
    ids: set[str] = set()
    for row in rows:
        ids |= {*(row["message_ids"] or ()), row["tools_id"], row["functions_id"]} - {None}
    contents = _json_of(connection, ids)
    return contents | _json_of(connection, set().union(*map(payload_ids, contents.values())))


def _json_of(connection: duckdb.DuckDBPyConnection, ids: set[str]) -> dict[str, str]:
    _, found = fetch(
        connection,
        "SELECT content_id, json FROM content WHERE content_id IN (SELECT unnest($ids)) AND json IS NOT NULL",
        {"ids": sorted(ids)},
    )
    return dict(found)
