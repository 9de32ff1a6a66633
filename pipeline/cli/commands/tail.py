"""`tapeline tail`."""

from __future__ import annotations

import time

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..options import data_option
from ..prepare import ready_with_prices

# How often new exchanges are looked for.
POLL_SECONDS = 2.0


@click.command()
@click.option("-n", "--lines", type=click.IntRange(0), default=10, show_default=True, help="Show so many first.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on with what is recorded.")
@data_option
def tail(directory: DataDirectory, lines: int, follow: bool) -> None:
    """Print a line for each exchange as it is sealed."""
    from ...reports.exchange_text import TAIL_HEADING, tail_line
    from ...warehouse.exchanges import latest_exchanges

    last_row = None
    while True:
        with ready_with_prices(directory) as (connection, prices):
            if last_row is None:
                click.echo(TAIL_HEADING)
            last_row, rows = latest_exchanges(connection, last_row, lines, prices)
        for row in rows:
            click.echo(tail_line(row))
        if not follow:
            return
        time.sleep(POLL_SECONDS)
