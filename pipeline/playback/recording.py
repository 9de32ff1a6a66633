"""Reads a whole recording out of the warehouse, to answer requests from it.

All of it is read into memory at once, so that a server holds no file open that another process wants to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb

from ..apis.rows import ExchangeRow
from ..errors import UsageError
from ..warehouse.exchanges import read_rows, request_of
from ..warehouse.query import fetch
from ..wire.json_text import dumps
from ..wire.redaction import unsalted
from .matching import RecordedRequest, RecordedRequests, recorded_request


@dataclass(frozen=True)
class Recording:
    """A recording in the form in which it is served."""

    requests: RecordedRequests
    #: Role and text of each message, by its id.
    texts: dict[str, tuple[str | None, str]]
    models: list[str]
    exchanges: int


def read_recording(connection: duckdb.DuckDBPyConnection, run: str) -> Recording:
    """Read a run. Raises UsageError for a run that does not exist or was recorded without content."""
    rows = read_rows(connection, run)
    if without := sum(row["content_kept"] is False for row in rows):
        raise UsageError(
            f"Run {run!r} cannot be served: {without:,} of its {len(rows):,} exchanges were recorded without content."
        )
    recorded = [_recorded(connection, row) for row in rows]
    return Recording(RecordedRequests(recorded), _texts(connection, rows), _models(rows), len(rows))


def _recorded(connection: duckdb.DuckDBPyConnection, row: ExchangeRow) -> RecordedRequest:
    if not row["request_redactions"] or row["request_params"] is None:
        return recorded_request(row)
    return recorded_request(row, unsalted(dumps(request_of(connection, row))))


def _texts(connection: duckdb.DuckDBPyConnection, rows: Sequence[ExchangeRow]) -> dict[str, tuple[str | None, str]]:
    ids = sorted({content_id for row in rows for content_id in row["message_ids"] or ()})
    _, texts = fetch(
        connection,
        "SELECT content_id, role, text FROM stored.content WHERE content_id IN (SELECT unnest($ids))",
        {"ids": ids},
    )
    return {content_id: (role, text or "") for content_id, role, text in texts}


def _models(rows: Iterable[ExchangeRow]) -> list[str]:
    models = (row["model"] or row["response_model"] for row in rows)
    return sorted({model for model in models if model is not None})
