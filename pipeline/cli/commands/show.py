"""`tapeline show`."""

from __future__ import annotations

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..options import data_option, utf8
from ..prepare import ready_with_prices


@click.command()
@click.argument("exchange_id", callback=utf8)
@click.option("--json", "as_json", is_flag=True, help="The whole exchange as JSON.")
@data_option
def show(exchange_id: str, directory: DataDirectory, as_json: bool) -> None:
    """Show one exchange: its request, the answer as it was assembled, and its timing.

    The id may be cut to its beginning or its end, as long as one exchange alone has it.
    """
    from ...reports.exchange_text import describe, document
    from ...reports.render import json_text
    from ...warehouse.exchanges import find_exchange, request_of, response_of

    with ready_with_prices(directory) as (connection, prices):
        row = find_exchange(connection, exchange_id, prices)
        request, response = request_of(connection, row), response_of(row)
    click.echo(json_text(document(row, request, response)) if as_json else describe(row, request, response))
