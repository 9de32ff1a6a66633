"""Data to stdout or a file, notes to stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError

if TYPE_CHECKING:
    from ..reports.run import Table


def print_table(table: Table, format_name: str, output: Path | None) -> None:
    """Print a table, or write it to a file."""
    from ..reports.render import FORMATS as renderers
    from ..reports.render import coverage_line
    from ..wire.terminal_text import visible

    text = renderers[format_name](table)
    if format_name == "csv" and output is None and sys.stdout.isatty():
        text = visible(text.replace("\r\n", "\n"))  # in a pipe or a file it is exact
    write_out(text, output)
    if format_name == "csv" and table.coverage:
        # CSV has no place for the coverage, and figures are never printed without it.
        note(coverage_line(table.coverage))


def write_out(text: str, output: Path | None) -> None:
    """Print a text, or write it to a file and note that."""
    if output is None:
        # Without `color`, click removes terminal sequences from text for a pipe.
        click.echo(text, nl=False, color=True)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}.") from error
    note(f"Wrote {output}")


def note(text: str) -> None:
    """Print a line for people to stderr."""
    from ..wire.terminal_text import one_line

    click.echo(one_line(text), err=True)
