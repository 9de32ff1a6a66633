"""`tapeline report` and `tapeline runs`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from tapeline.addons.tapeline_paths import DataDirectory

from .options import data_option, filter_options, filters_from, output_options, put_out, ready_to_query


@click.command()
@click.argument("name", required=False)
@filter_options
@output_options
@data_option
def report(name: str | None, directory: DataDirectory, form: str, output: Path | None, **filters: str | None) -> None:
    """Print a report; without a name, the list of reports and an overview.

    \b
    tapeline report latency --model 'gpt-*' --since 2026-11-01
    tapeline report usage --format csv -o usage.csv
    """
    from ..reports import all_reports, find_report, run_report

    chosen = find_report(name or "overview")
    with ready_to_query(directory) as connection:
        table = run_report(connection, chosen, filters_from(**filters))
    if name is None and form == "table" and output is None:
        listing = click.HelpFormatter(width=shutil.get_terminal_size().columns)
        listing.write_dl([(entry.name, entry.title) for entry in all_reports()])
        click.echo(listing.getvalue())
    put_out(table, form, output)


@click.command()
@filter_options
@output_options
@data_option
def runs(directory: DataDirectory, form: str, output: Path | None, **filters: str | None) -> None:
    """List the recordings."""
    from ..reports import find_report, run_report

    with ready_to_query(directory) as connection:
        table = run_report(connection, find_report("runs"), filters_from(**filters))
    put_out(table, form, output)
