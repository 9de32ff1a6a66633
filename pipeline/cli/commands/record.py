"""`tapeline record`."""

from __future__ import annotations

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..options import data_option, utf8


@click.command(context_settings={"ignore_unknown_options": False})
@data_option
@click.option("--run", callback=utf8, default="", help="Label of this recording; the time of its start if not given.")
@click.option("--mode", "modes", multiple=True, metavar="SPEC", help="A mode as mitmproxy writes it; may be repeated.")
@click.option("--upstream", metavar="URL", help="Short for --mode reverse:URL.")
@click.option("-p", "--port", type=click.IntRange(1, 65535), help="Port to listen on; a free one if not given.")
@click.option("--listen-host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--max-body",
    type=click.IntRange(0),
    metavar="BYTES",
    help="Keep so much of a request's body, and of an answer's; all of it passes.  [default: 256 MiB]",
)
@click.option(
    "--redact",
    type=click.Choice(("credentials", "none")),
    default="credentials",
    show_default=True,
    help="What is replaced by names in what bodies say.",
)
@click.option(
    "--redact-pattern", "patterns", multiple=True, metavar="REGEX", help="What else is replaced; may be repeated."
)
@click.option("--no-content", is_flag=True, help="Keep no text: sizes, hashes and figures alone.")
@click.option(
    "--proxyauth",
    metavar="USER:PASSWORD",
    envvar="TAPELINE_PROXYAUTH",
    show_envvar=True,
    help="Let in who knows this. Others on this machine can read a command line, and not the variable.",
)
@click.option(
    "--fast-path/--no-fast-path",
    default=True,
    envvar="TAPELINE_FAST_PATH",
    help="Let streamed responses go past mitmproxy's layers. Without it, more CPU a chunk, and the same traffic.",
)
@click.option("--announce", is_flag=True, hidden=True, help="Print the addresses as JSON to stdout.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A mitmproxy option; may be repeated.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD ARG...]")
def record(
    directory: DataDirectory,
    run: str,
    modes: tuple[str, ...],
    upstream: str | None,
    port: int | None,
    listen_host: str,
    max_body: int | None,
    redact: str,
    patterns: tuple[str, ...],
    no_content: bool,
    proxyauth: str | None,
    fast_path: bool,
    announce: bool,
    settings: tuple[str, ...],
    command: tuple[str, ...],
) -> int:
    """Record chat completions that pass through a proxy.

    With a command, it is started with the proxy and its certificate in its environment, and its exit code is
    returned. Without, clients are pointed at the address that is printed.

    \b
    tapeline record -- python my_app.py
    tapeline record --upstream https://api.openai.com/v1 -p 8080
    tapeline record --mode regular@127.0.0.1:8080 --mode reverse:http://127.0.0.1:11434@127.0.0.1:8081
    """
    from ...proxy.session import RecordOptions
    from ...proxy.session import record as run_recording

    options = [f"tapeline_redact={redact}", *(f"tapeline_redact_pattern={pattern}" for pattern in patterns)]
    options += [] if max_body is None else [f"tapeline_max_body={max_body}"]
    options += ["tapeline_content=false"] if no_content else []
    return run_recording(
        RecordOptions(
            data=directory.root,
            run=run,
            modes=modes,
            upstream=upstream,
            listen_host=listen_host,
            port=port,
            proxyauth=proxyauth,
            settings=(*options, *settings),
            command=command,
            fast_path=fast_path,
            announce=announce,
        )
    )
