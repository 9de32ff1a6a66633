"""`tapeline report` and `tapeline runs`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import click

from tapeline.addons.tapeline_paths import DataDirectory

from ..errors import UsageError
from .options import (
    data_option,
    filter_options,
    filters_from,
    output_options,
    price_options,
    put_out,
    ready_to_query,
    ready_with_prices,
)


@click.command()
@click.argument("name", required=False)
@filter_options
@click.option(
    "--by",
    metavar="NAME[,NAME]",
    help="Group a report on cost: by day, model, provider, host, run, user, key, conversation, tools, tier or outcome.",
)
@price_options
@output_options
@data_option
def report(
    name: str | None,
    directory: DataDirectory,
    form: str,
    output: Path | None,
    prices: Path | None,
    **filters: str | None,
) -> None:
    """Print a report; without a name, the list of reports and an overview.

    Of the report what-if --model names the other model; all recorded calls are compared.

    \b
    tapeline report latency --model 'gpt-*' --since 2026-11-01
    tapeline report usage --format csv -o usage.csv
    tapeline report cost --by user
    tapeline report what-if --model openai/gpt-4o-mini
    """
    from ..reports import all_reports, check_filters, find_report, run_report

    chosen, looks_at = find_report(name or "overview"), filters_from(**filters)
    if chosen.compares_prices:
        looks_at = replace(looks_at, model=None, other_model=looks_at.model)
    check_filters(chosen, looks_at)
    if prices is not None and not chosen.shows_money:
        raise UsageError(f"Report {chosen.name} shows no money: leave --prices out.")
    ready = (
        ready_with_prices(directory, prices, looks_at.prices_as_of, looks_at.other_model)
        if chosen.shows_money
        else ready_to_query(directory)
    )
    with ready as connection:
        table = run_report(connection, chosen, looks_at)
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
