"""Runs reports for a page, and finds the calls that it shows as waterfalls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import duckdb

from ...warehouse.query import STORED_PRICES, Filters, Prices, fetch, showing
from ..definition import Report
from ..run import run_report
from .document import page
from .waterfall import COLUMNS, waterfall

#: Reports in the order of the page; others follow by name.
FIRST = ("overview", "cost", "usage", "latency", "stalls", "answers", "finish-reasons", "errors", "rate-limits")
# Numbers of calls to choose from: the slowest and the latest.
_SLOWEST = _LATEST = 40
_CALLS = f"""
SELECT {", ".join(COLUMNS)} FROM exchanges
WHERE exchange_id IN (SELECT exchange_id FROM exchanges ORDER BY ended_us DESC NULLS LAST, exchange_id LIMIT {_SLOWEST})
   OR exchange_id IN (SELECT exchange_id FROM exchanges ORDER BY started_at DESC, exchange_id LIMIT {_LATEST})
ORDER BY ended_us DESC NULLS LAST, exchange_id
"""  # noqa: S608 - names and numbers of ours


def page_of(
    connection: duckdb.DuckDBPyConnection,
    reports: Iterable[Report],
    filters: Filters,
    prices: Prices | None = STORED_PRICES,
) -> str:
    """Return one page of these reports under the same filters, with calls if there are several reports.

    Raises UsageError for filters that a report does not take, DataError for SQL that fails.
    """
    ordered = sorted(reports, key=lambda report: FIRST.index(report.name) if report.name in FIRST else len(FIRST))
    tables = [run_report(connection, report, _that_apply(report, filters), prices) for report in ordered]
    title = tables[0].title if len(tables) == 1 else "Tapeline: what was called, what it took, what it cost"
    calls = _calls(connection, filters, prices) if len(tables) > 1 else []
    # If no table has rows, the first one is shown with the reason: nothing matches, or all was lost.
    return page(title, [table for table in tables if table.rows] or tables[:1], calls)


def _that_apply(report: Report, filters: Filters) -> Filters:
    """Return the filters that the report takes."""
    return replace(
        filters,
        by=filters.by if report.by else (),
        prices_as_of=filters.prices_as_of if report.shows_money else None,
    )


def _calls(connection: duckdb.DuckDBPyConnection, filters: Filters, prices: Prices | None) -> list[dict[str, Any]]:
    with showing(connection, filters, prices):
        columns, rows = fetch(connection, _CALLS)
    return [waterfall(dict(zip(columns, row, strict=True))) for row in rows]
