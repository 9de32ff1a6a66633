"""Options that several commands take, each defined once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tapeline.addons.tapeline_recorder.data_directory import DEFAULT_DATA, DataDirectory

from ..errors import UsageError

if TYPE_CHECKING:
    from ..warehouse.query import Filters

Command = Callable[..., Any]
# DuckDB reads them in a path as a pattern or a separator.
_NOT_IN_PATHS = "*?" if os.name == "nt" else "*?\\"
FORMATS = ("table", "json", "csv", "markdown")


def utf8(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Check text that is stored or searched for: a shell may pass bytes that are not UTF-8."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"{text!a} is no UTF-8.") from None
    return text


def data_option(command: Command) -> Command:
    """`--data`, passed to the command as a DataDirectory named `directory`."""
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
    """The filters of a report."""
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
    """The prices by which costs are shown."""
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


def format_option(formats: Sequence[str]) -> Callable[[Command], Command]:
    """`--format`, one of these; the first is the default."""
    return click.option(
        "--format",
        "format_name",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="Output format.",
    )


def filters_from(
    by: str | None = None, prices_as_of: str | None = None, params: Sequence[str] = (), **values: str | None
) -> Filters:
    """Return filters from the options' texts. Raises UsageError for a time or a parameter that cannot be read."""
    from ..warehouse.query import Filters, read_time

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
