"""Options that several commands take, each defined once, and what commands do with them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tapeline.addons.tapeline_paths import DEFAULT_DATA, DataDirectory

from ..errors import UsageError
from .waiting import waiting

if TYPE_CHECKING:
    import duckdb

    from ..loading import Loaded
    from ..reports import Filters, Table
    from ..seal import Sealed

Command = Callable[..., Any]
NOTHING_THERE = "{} does not exist: record something first, or name another with --data."
# In a path to read, DuckDB takes them for a pattern, or for a separator.
_NOT_IN_PATHS = "*?" if os.name == "nt" else "*?\\"
FORMATS = ("table", "json", "csv", "markdown")


def utf8(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """The callback for text that is stored or searched for, which what a shell gives cannot be if it is no UTF-8."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"{text!a} is no UTF-8.") from None
    return text


def data_option(command: Command) -> Command:
    """`--data`, given to the command as a DataDirectory named `directory`."""
    return click.option(
        "--data",
        "directory",
        envvar="TAPELINE_DATA",
        show_envvar=True,
        default=DEFAULT_DATA,
        show_default=True,
        type=click.Path(path_type=Path, file_okay=False),
        callback=_data_directory,
        help="Directory that holds the recordings.",
    )(command)


def filter_options(command: Command) -> Command:
    """What a report looks at."""
    for name, help_text in (
        ("until", "Before this time, UTC: 2026-11-21 or 2026-11-21T10:30."),
        ("since", "From this time on, UTC."),
        ("provider", "Of this provider; * stands for anything."),
        ("model", "Of this model; * stands for anything."),
        ("run", "Of this recording; * stands for anything."),
    ):
        command = click.option(f"--{name}", callback=utf8, help=help_text)(command)
    return command


def price_options(command: Command) -> Command:
    """By which prices costs are shown."""
    for name, kind, help_text in (
        ("prices-as-of", str, "Price everything as on this day: 2026-11-21."),
        ("prices", click.Path(path_type=Path, dir_okay=False), "Prices of this file, not of prices.toml in --data."),
    ):
        command = click.option(f"--{name}", type=kind, help=help_text)(command)
    return command


def output_option(command: Command) -> Command:
    """`-o`."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write to this file, not to stdout.",
    )(command)


def output_options(command: Command) -> Command:
    """`--format` and `-o`."""
    return format_option(FORMATS)(output_option(command))


def format_option(forms: Sequence[str]) -> Callable[[Command], Command]:
    """`--format`, one of these, the first unless it is said."""
    return click.option(
        "--format", "form", type=click.Choice(forms), default=forms[0], show_default=True, help="Form of the output."
    )


def filters_from(
    by: str | None = None, prices_as_of: str | None = None, params: Sequence[str] = (), **values: str | None
) -> Filters:
    """Filters from the options' texts. Raises UsageError for a time or a parameter that cannot be read."""
    from ..reports import Filters, read_time

    texts = {name: values.pop(name, None) for name in ("since", "until")}
    times = {name: read_time(f"--{name}", text) for name, text in texts.items() if text is not None}
    groups = tuple(name.strip() for name in by.split(",")) if by is not None else ()
    return Filters(
        **values,  # type: ignore[arg-type]
        **times,  # type: ignore[arg-type]
        by=groups,
        prices_as_of=_day(prices_as_of),
        params=dict(map(_parameter, params)),
    )


@contextmanager
def ready_with_prices(
    directory: DataDirectory, prices: Path | None = None, as_of: datetime | None = None, model: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same as `ready_to_query`, with costs: by a file of prices, of another day, on another model beside."""
    from ..pricing.prices_file import read_prices_file
    from ..pricing.stored import bring_up_to_date, own_prices_file, use_model, use_prices

    file = read_prices_file(prices) if prices is not None else own_prices_file(directory)
    ready = ready_to_query(directory)
    if prices is None and os.access(directory.root, os.W_OK):
        with waiting("Pricing calls"):
            bring_up_to_date(directory, file)
    with ready as connection:
        with waiting("Pricing calls"):
            use_prices(connection, file, as_of)
            if model is not None:
                use_model(connection, file, model, as_of)
        yield connection


def ready_to_query(directory: DataDirectory) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """Seal and load what is new, then connect; what went wrong on the way is said on stderr."""
    from .. import warehouse

    if not directory.root.is_dir():
        raise UsageError(NOTHING_THERE.format(directory.root))
    if not os.access(directory.root, os.W_OK) and directory.warehouse.exists():
        note(f"{directory.root} cannot be written: what is not loaded yet stays out.")
        return warehouse.querying(directory)
    seal_and_load(directory)
    return warehouse.querying(directory)


def seal_and_load(directory: DataDirectory) -> tuple[Sealed, Loaded]:
    """Seal and load what is new; what went wrong on the way is said on stderr."""
    from .. import warehouse
    from ..seal import seal

    with waiting("Sealing what was recorded"):
        sealed = seal(directory)
    with waiting("Loading what is new"):
        loaded = warehouse.load(directory)
    if loaded.rebuilt:
        note(f"The warehouse was made anew from the dataset: {loaded.rebuilt}.")
    for problem in sealed.problems + loaded.problems:
        note(problem)
    return sealed, loaded


def put_out(table: Table, form: str, output: Path | None) -> None:
    """Print a table, or write it to a file."""
    from ..escaping import visible
    from ..render import FORMATS as renderers
    from ..render import coverage_line

    text = renderers[form](table)
    if form == "csv" and output is None and sys.stdout.isatty():
        text = visible(text.replace("\r\n", "\n"))  # in a pipe and in a file it is exact
    write_out(text, output)
    if form == "csv" and table.coverage:
        # A CSV file has no place for it, and figures never go without it.
        note(coverage_line(table.coverage))


def write_out(text: str, output: Path | None) -> None:
    """Print a text, or write it to a file, and say so."""
    if output is None:
        # Without `color`, click takes from what goes to a pipe whatever looks like a terminal's sequence.
        click.echo(text, nl=False, color=True)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}.") from error
    note(f"Wrote {output}")


def note(text: str) -> None:
    """A line for people, on stderr."""
    from ..escaping import one_line

    click.echo(one_line(text), err=True)


def _data_directory(context: click.Context, parameter: click.Parameter, path: Path) -> DataDirectory:
    utf8(context, parameter, str(path))
    directory = path.expanduser().absolute()
    if odd := sorted(set(_NOT_IN_PATHS) & set(str(directory))):
        raise click.BadParameter(f"{str(directory)!r}: DuckDB reads no files below a name with {' or '.join(odd)}.")
    return DataDirectory(directory)


def _parameter(text: str) -> tuple[str, str]:
    name, is_given, value = text.partition("=")
    if not is_given:
        raise UsageError(f"--param {text!r}: write NAME=VALUE.")
    return name, value


def _day(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise UsageError(f"--prices-as-of {text!r} is no day: write 2026-11-21.") from None
