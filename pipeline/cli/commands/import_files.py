"""`tapeline import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ...errors import DataError
from ..options import data_option, utf8
from ..output import note

if TYPE_CHECKING:
    from ...importing.import_file import ImportResult


@click.command("import")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--run", callback=utf8, help="Label of these exchanges; the file's name if not given.")
@data_option
def import_files(files: tuple[Path, ...], run: str | None, directory: DataDirectory) -> None:
    """Take in chat completions that others have recorded.

    Flow files of mitmproxy (mitmdump -w) and HTTP archives (HAR), of browsers and of `tapeline export`. The same rules
    hold as for recording: no credential is kept. Times that a file does not have, that of the first token above all,
    stay empty. What is there already is not taken in again.

    \b
    tapeline import traffic.mitm
    tapeline import browser.har --run checkout
    """
    from ...importing.import_file import import_file
    from ...wire.terminal_text import one_line

    for path in files:
        result = import_file(directory, path, run or one_line(path.stem))
        for problem in result.problems:
            note(problem)
        click.echo(one_line(f"{path}: {_told(result)}"))
        if result.found.damage is not None:
            raise DataError(f"{path} is damaged {result.found.damage}. What comes before is taken in.")


def _told(result: ImportResult) -> str:
    told = [f"{result.taken:,} exchanges taken in as run {result.run}"]
    if result.known:
        told.append(f"{result.known:,} were there already")
    if left_out := result.found.left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
        told.append(f"left out {left_out.total():,}: {reasons}")
    return "; ".join(told)
