"""`tapeline replay`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ...errors import ExitCode, UsageError
from ..options import data_option, output_options, utf8
from ..output import note, print_table
from ..replaying import ready_to_plan, send_planned

if TYPE_CHECKING:
    from ...playback.replay import Replay

DEFAULT_CONCURRENCY = 4
# With the recorded timing, as many requests run at once as when they were recorded; this is only a limit.
TIMED_CONCURRENCY = 256


@click.command()
@click.argument("run", callback=utf8)
@click.option(
    "--upstream", metavar="URL", required=True, callback=utf8, help="API to ask, such as https://api.openai.com/v1."
)
@click.option("--run", "new_run", callback=utf8, help="Label of the new recording; the time of its start if not given.")
@click.option("--model", callback=utf8, help="Ask this model instead.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Send every request this often.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    help=f"Most requests at a time.  [default: {DEFAULT_CONCURRENCY}, with --speed {TIMED_CONCURRENCY}]",
)
@click.option(
    "--speed",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="1 keeps the recorded timing, 10 is ten times as fast, 0 sends without pauses.",
)
@click.option(
    "--key-env", metavar="NAME", default="OPENAI_API_KEY", show_default=True, help="Variable that holds the key."
)
@click.option("--resume", is_flag=True, help="Continue the run that --run names: send its unanswered requests.")
@click.option("--dry-run", is_flag=True, help="Send nothing: show the number of requests and their recorded tokens.")
@output_options
@data_option
def replay(
    directory: DataDirectory,
    format_name: str,
    output: Path | None,
    key_env: str,
    dry_run: bool,
    **options: Any,
) -> int:
    """Send a recording's requests again, in their order, and record the new responses.

    A server that answers 429 or 503 is asked again when it allows it (Retry-After). A request that is incomplete in the
    recording is not sent, and is named: one with replaced credentials, or one that was recorded without content. The
    key goes into the Authorization header and is stored nowhere.

    \b
    tapeline replay before --upstream http://127.0.0.1:11434/v1 --model qwen3 --run after --dry-run
    tapeline replay before --upstream http://127.0.0.1:11434/v1 --model qwen3 --run after
    """
    from ...playback.replay import plan_table, prepare, wait_until_recorded

    wanted = _read(**options)
    if wanted.resume:
        wait_until_recorded(directory, wanted.new_run)
    with ready_to_plan(directory, wanted.changes.get("model"), with_prices=dry_run) as (connection, prices):
        plan = prepare(connection, wanted, prices)
    for line in plan.not_sent():
        note(line)
    if dry_run:
        print_table(plan_table(plan), format_name, output)
        return ExitCode.OK
    return send_planned(directory, wanted, plan, key_env)


def _read(
    *,
    new_run: str | None,
    model: str | None,
    settings: tuple[str, ...],
    concurrency: int | None,
    **options: Any,
) -> Replay:
    from ...playback.replay import Replay
    from ...playback.replay_plan import read_changes

    if options["resume"] and new_run is None:
        raise UsageError("--resume needs --run: name the recording to continue.")
    return Replay(
        new_run=new_run or time.strftime("%Y%m%d-%H%M%S", time.gmtime()),
        changes=read_changes(model, settings),
        concurrency=concurrency or (TIMED_CONCURRENCY if options["speed"] else DEFAULT_CONCURRENCY),
        **options,
    )
