"""`tapeline doctor`."""

from __future__ import annotations

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..options import data_option


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@data_option
def doctor(directory: DataDirectory, as_json: bool) -> None:
    """Say how Tapeline is doing: versions, certificate, data directory, journals, losses."""
    from ...reports.render import json_text
    from ...wire.terminal_text import one_line
    from ..examine import examine

    findings = examine(directory)
    if as_json:
        click.echo(json_text([{"about": about, "what": what, "state": state} for about, what, state in findings]))
        return
    findings = [(about, one_line(what), one_line(str(state))) for about, what, state in findings]
    width = max(len(what) for _, what, _ in findings)
    last = None
    for about, what, state in findings:
        if about != last:
            click.echo(about)
            last = about
        click.echo(f"  {what:<{width}}  {state}")
