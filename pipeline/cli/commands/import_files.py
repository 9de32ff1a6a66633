"""`tapeline import`."""

from __future__ import annotations

from pathlib import Path

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ...errors import DataError
from ..options import data_option, utf8
from ..output import note


@click.command("import")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--run", callback=utf8, help="Label of these exchanges; the file's name if not given.")
@data_option
def import_files(files: tuple[Path, ...], run: str | None, directory: DataDirectory) -> None:
    """Import chat completions that other programs recorded.

    Reads flow files of mitmproxy (mitmdump -w) and HTTP archives (HAR) of browsers and of `tapeline export`. The rules
    are those of recording: no credential is kept. Times that a file does not hold, such as the time to first token,
    stay empty. An exchange that is already there is not imported again.

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
        click.echo(one_line(f"{path}: {result.summary()}"))
        if result.report.damage is not None:
            raise DataError(f"{path} is damaged {result.report.damage}. The part before the damage is imported.")
