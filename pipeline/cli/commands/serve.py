"""`tapeline serve`."""

from __future__ import annotations

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..options import data_option, utf8
from ..prepare import ready_to_query


@click.command()
@click.argument("run", callback=utf8)
@click.option(
    "-p", "--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; a free one if not given."
)
@click.option("--listen-host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--speed",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="1 keeps the recorded timing, 10 is ten times as fast, 0 does not wait.",
)
@data_option
def serve(run: str, port: int, listen_host: str, speed: float, directory: DataDirectory) -> None:
    """Answer requests from a recording, with its timing: an API without network and without cost.

    A request gets the response that the same request got when it was recorded, including errors and broken streams. A
    repeated request gets the next recorded response, then the last one again. A request that was not recorded gets a
    404 that names the nearest recorded one.

    \b
    tapeline serve before -p 8080
    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python my_app.py
    """
    from ...playback.recording import read_recording
    from ...playback.server import serve as serve_recording

    with ready_to_query(directory) as connection:
        recording = read_recording(connection, run)
    serve_recording(recording, host=listen_host, port=port, speed=speed)
