"""`tapeline sql`."""

from __future__ import annotations

from pathlib import Path

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ...errors import UsageError
from ..options import data_option, output_options, utf8
from ..output import print_table
from ..prepare import ready_with_prices


@click.command()
@click.argument("query", callback=utf8)
@output_options
@data_option
def sql(query: str, directory: DataDirectory, format_name: str, output: Path | None) -> None:
    """Ask the warehouse in SQL, which is DuckDB's; it cannot be changed by it.

    The views are exchanges, choices, tool_calls, messages, event_gaps, limits, content and losses; what each call
    cost is in exchanges.

    \b
    tapeline sql "SELECT model, count(*) FROM exchanges GROUP BY model"
    """
    import duckdb

    from ...reports.run import Table
    from ...warehouse.query import ALL, fetch, showing

    with ready_with_prices(directory) as (connection, prices), showing(connection, ALL, prices):
        try:
            columns, rows = fetch(connection, query)
        except duckdb.Error as error:
            raise UsageError(str(error)) from error
    print_table(Table("sql", "", columns, rows), format_name, output)
