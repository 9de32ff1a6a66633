"""`tapeline report` and `tapeline runs`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ...errors import UsageError, needs_extra
from ..options import (
    FORMATS,
    data_option,
    filter_options,
    filters_from,
    format_option,
    output_option,
    output_options,
    price_options,
)
from ..output import print_table, write_out
from ..prepare import ready_to_query, ready_with_prices, ready_without_prices
from ..progress import waiting

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import duckdb

    from ...reports.definition import Report
    from ...warehouse.query import Filters, Prices

PAGE = "html"


@click.command(add_help_option=False)
@click.argument("name", required=False)
@filter_options
@click.option("--by", metavar="NAME[,NAME]", help="Group by day, hour, model, provider, host, run, user, key, ...")
@click.option("--param", "params", metavar="NAME=VALUE", multiple=True, help="A value that the report takes.")
@price_options
@click.option(
    "--queries",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of reports of your own; otherwise queries/ in --data.",
)
@format_option((*FORMATS, PAGE))
@output_option
@click.option("--open", "opens", is_flag=True, help="Write a page and open it in the browser.")
@data_option
@click.option("--help", "wants_help", is_flag=True, help="Show this message, or a report's own, and exit.")
@click.pass_context
def report(
    context: click.Context,
    /,
    name: str | None,
    directory: DataDirectory,
    queries: Path | None,
    format_name: str,
    output: Path | None,
    opens: bool,
    prices: Path | None,
    wants_help: bool,
    **filters: Any,
) -> None:
    """Print a report; without a name, the list of reports and an overview, or a page of all.

    For the report what-if, --model names the other model, and all recorded calls are compared.

    \b
    tapeline report latency --model 'gpt-*' --since 2026-11-01
    tapeline report latency --help
    tapeline report usage --format csv -o usage.csv
    tapeline report cost --by user
    tapeline report what-if --model openai/gpt-4o-mini
    tapeline report --open
    """
    from ...reports.definition import all_reports, find_report

    own = queries or _own_queries(directory)
    if wants_help:
        click.echo(_help(find_report(name, own)) if name else context.get_help())
        return
    if opens and format_name not in (FORMATS[0], PAGE):
        raise UsageError(f"--open opens a page: leave --format {format_name} out.")
    selected = filters_from(**filters)
    if opens or format_name == PAGE:
        wanted = [find_report(name, own)] if name else [one for one in all_reports(own) if _is_shown_on_page(one)]
        _write_page(directory, wanted, selected, prices, output, opens=opens)
        return
    chosen = find_report(name or "overview", own)
    selected = _with_other_model(chosen, selected)
    from ...reports.run import check_filters, run_report, values_of

    check_filters(chosen, selected)
    values_of(chosen, selected)
    with _ready(directory, [chosen], selected, prices) as (connection, rates), waiting("Working the report out"):
        table = run_report(connection, chosen, selected, rates)
    if name is None and format_name == "table" and output is None:
        click.echo(_listing(all_reports(own)))
    print_table(table, format_name, output)


def _own_queries(directory: DataDirectory) -> Path | None:
    return directory.queries if directory.queries.is_dir() else None


def _with_other_model(report: Report, filters: Filters) -> Filters:
    return replace(filters, model=None, other_model=filters.model) if report.compares_prices else filters


def _ready(
    directory: DataDirectory, reports: list[Report], filters: Filters, prices: Path | None
) -> AbstractContextManager[tuple[duckdb.DuckDBPyConnection, Prices | None]]:
    if any(one.shows_money for one in reports):
        return ready_with_prices(directory, prices, filters.prices_as_of, filters.other_model)
    if prices is not None:
        raise UsageError(f"Report {reports[0].name} shows no money: leave --prices out.")
    return ready_without_prices(directory)


def _is_shown_on_page(report: Report) -> bool:
    """Whether a report needs no value that only its name would bring: the page shows those."""
    return not report.compares_prices and all(param.default is not None for param in report.params)


def _write_page(
    directory: DataDirectory,
    wanted: list[Report],
    filters: Filters,
    prices: Path | None,
    output: Path | None,
    *,
    opens: bool,
) -> None:
    with needs_extra("charts", "A page of reports"):
        from ...reports.page.build import page_of

    if len(wanted) == 1:
        filters = _with_other_model(wanted[0], filters)
    with _ready(directory, wanted, filters, prices) as (connection, rates), waiting("Working the reports out"):
        text = page_of(connection, wanted, filters, rates)
    if opens and output is None:
        directory.create()
        output = directory.root / "report.html"
        output.touch(mode=0o600)
    write_out(text, output)
    if opens and output is not None:
        click.launch(output.resolve().as_uri())


def _listing(reports: list[Report]) -> str:
    listing = click.HelpFormatter(width=shutil.get_terminal_size().columns)
    listing.write_dl([(entry.name, entry.title) for entry in reports])
    return listing.getvalue()


def _help(report: Report) -> str:
    """Return the help in the head of a report, with its parameters."""
    from ...wire.terminal_text import visible

    parts = [report.title]
    if report.help:
        parts.append(report.help)
    if report.by:
        parts.append(f"Grouped by {', '.join(report.by)}; --by groups by something else.")
    if report.params:
        lines = click.HelpFormatter()
        lines.write_dl([(f"--param {one.name}={_default(one.default)}", one.help) for one in report.params])
        parts.append(lines.getvalue().rstrip())
    if report.file:
        parts.append(f"From {report.file}.")
    return visible("\n\n".join(parts))


def _default(value: float | str | None) -> str:
    return "..." if value is None else str(value)


@click.command()
@filter_options
@output_options
@data_option
def runs(directory: DataDirectory, format_name: str, output: Path | None, **filters: Any) -> None:
    """List the recordings."""
    from ...reports.definition import find_report
    from ...reports.run import run_report

    with ready_to_query(directory) as connection:
        table = run_report(connection, find_report("runs"), filters_from(**filters))
    print_table(table, format_name, output)
