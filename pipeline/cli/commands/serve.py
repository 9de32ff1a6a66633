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
    help="1 answers as fast as it was recorded, 10 ten times as fast, 0 at once.",
)
@data_option
def serve(run: str, port: int, listen_host: str, speed: float, directory: DataDirectory) -> None:
    """Answer from a recording, with its timing: an API that costs nothing and needs no network.

    A request is answered as the same request was when it was recorded, errors and broken streams included; asked again,
    with the next answer that it got, then with the last one. One that was not recorded gets a 404 that names what is
    nearest.

    \b
    tapeline serve before -p 8080
    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python my_app.py
    """
    from ...playback.recording import read_recording
    from ...playback.server import serve as serve_recording

    with ready_to_query(directory) as connection:
        recording = read_recording(connection, run)
    serve_recording(recording, host=listen_host, port=port, speed=speed)
