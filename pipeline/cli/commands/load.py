"""`tapeline load`, and `tapeline seal`, which the recorder starts beside itself."""

from __future__ import annotations

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ...errors import UsageError
from ..options import data_option
from ..output import note
from ..prepare import NOTHING_THERE, seal_and_load


@click.command()
@data_option
def load(directory: DataDirectory) -> None:
    """Seal what recorders have left and load what is new; reports do it by themselves."""
    if not directory.root.is_dir():
        raise UsageError(NOTHING_THERE.format(directory.root))
    sealed, loaded = seal_and_load(directory)
    click.echo(
        f"sealed: {sealed.exchanges:,} exchanges in {sealed.batches:,} batches of {sealed.recorders:,} recorders"
    )
    click.echo(f"loaded: {loaded.exchanges:,} exchanges from {loaded.files:,} files")
    if sealed.losses:
        click.echo(f"not recorded: {sealed.losses:,} exchanges (see `tapeline doctor`)")


@click.command(hidden=True)
@data_option
@click.option("--follow", is_flag=True, help="Go on until standard input ends.")
def seal(directory: DataDirectory, follow: bool) -> None:
    """Seal what recorders have left."""
    from ...sealing.follow import follow as follow_recorder
    from ...sealing.seal import seal as seal_now

    if follow:
        follow_recorder(directory)
    else:
        sealed = seal_now(directory)
        for problem in sealed.problems:
            note(problem)
        click.echo(f"sealed: {sealed.exchanges:,} exchanges")
