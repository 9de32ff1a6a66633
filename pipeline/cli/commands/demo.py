"""`tapeline demo`."""

from __future__ import annotations

import time
from pathlib import Path

import click


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=".tapeline-demo",
    show_default=True,
    help="Directory for the demo's recordings.",
)
def demo(data: Path) -> None:
    """Record a built-in provider and print the reports: no network, no key."""
    from ...demo.run import run_demo

    for part in run_demo(data, time.strftime("demo-%H%M%S", time.gmtime())):
        click.echo(part)
