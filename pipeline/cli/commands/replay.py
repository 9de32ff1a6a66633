"""`tapeline replay`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ...errors import ExitCode, UsageError
from ..options import data_option, output_options, utf8
from ..output import note, print_table
from ..prepare import ready_to_query, ready_with_prices, ready_without_prices

if TYPE_CHECKING:
    import duckdb

    from ...playback.replay import Replay
    from ...playback.replay_plan import ReplayPlan
    from ...warehouse.query import Prices

DEFAULT_CONCURRENCY = 4
# With the recorded timing as many run at once as did then, which this only bounds.
TIMED_CONCURRENCY = 256
_MOST_NAMED = 20


@click.command()
@click.argument("run", callback=utf8)
@click.option(
    "--upstream", metavar="URL", required=True, callback=utf8, help="Whom to ask, such as https://api.openai.com/v1."
)
@click.option("--run", "new_run", callback=utf8, help="Label of the new recording; the time of its start if not given.")
@click.option("--model", callback=utf8, help="Ask this model instead.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Send all so many times.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    help=f"At most so many at a time.  [default: {DEFAULT_CONCURRENCY}, with --speed {TIMED_CONCURRENCY}]",
)
@click.option(
    "--speed",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="1 sends with the recorded timing, 10 ten times as fast, 0 without pauses.",
)
@click.option(
    "--key-env", metavar="NAME", default="OPENAI_API_KEY", show_default=True, help="Variable that holds the key."
)
@click.option("--resume", is_flag=True, help="Go on with the run that --run names: send what it has no answer to.")
@click.option(
    "--dry-run", is_flag=True, help="Send nothing: show how many requests it would be, and of how many tokens."
)
@output_options
@data_option
def replay(
    run: str,
    upstream: str,
    new_run: str | None,
    model: str | None,
    settings: tuple[str, ...],
    repeat: int,
    concurrency: int | None,
    speed: float,
    key_env: str,
    resume: bool,
    dry_run: bool,
    format_name: str,
    output: Path | None,
    directory: DataDirectory,
) -> int:
    """Ask a recording's requests again, in their order, and record what is answered now.

    A server that answers 429 or 503 is asked again when it wants to be (Retry-After). A request that the recording does
    not hold whole is not sent, and named: one whose credentials were replaced, or that was recorded without content.
    The key goes into the Authorization header and is kept nowhere.

    \b
    tapeline replay before --upstream http://127.0.0.1:11434/v1 --model qwen3 --run after --dry-run
    tapeline replay before --upstream http://127.0.0.1:11434/v1 --model qwen3 --run after
    """
    from ...playback.replay import Replay, plan_table, prepare, wait_until_recorded

    if resume and new_run is None:
        raise UsageError("--resume needs --run: name the recording that it goes on with.")
    wanted = Replay(
        run,
        upstream,
        new_run or time.strftime("%Y%m%d-%H%M%S", time.gmtime()),
        _changes(model, settings),
        repeat,
        concurrency or (TIMED_CONCURRENCY if speed else DEFAULT_CONCURRENCY),
        speed,
        resume,
    )
    if resume:
        wait_until_recorded(directory, wanted.new_run)
    with _ready_to_plan(directory, wanted, prices=dry_run) as (connection, rates):
        plan = prepare(connection, wanted, rates)
    _name_refused(plan)
    if dry_run:
        print_table(plan_table(plan), format_name, output)
        return ExitCode.OK
    return _send(directory, wanted, plan, key_env)


@contextmanager
def _ready_to_plan(
    directory: DataDirectory, wanted: Replay, *, prices: bool
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Prices | None]]:
    """Connect; with prices, use those of the model that is to be asked, if they are known."""
    with ExitStack() as stack:
        if not prices:
            yield stack.enter_context(ready_without_prices(directory))
            return
        model = wanted.changes.get("model")
        try:
            ready = stack.enter_context(ready_with_prices(directory, model=model))
        except UsageError as unknown:
            if model is None:
                raise
            note(str(unknown))
            ready = stack.enter_context(ready_with_prices(directory))
        yield ready


def _send(directory: DataDirectory, wanted: Replay, plan: ReplayPlan, key_env: str) -> int:
    from ...playback.replay import count_unanswered, send

    if not plan.requests:
        note("Nothing is to be sent.")
        return ExitCode.OK
    key = os.environ.get(key_env)
    if not key:
        note(f"{key_env} is not set: requests go without a key.")
    attempts, problem = 0, ""
    note(f"Sending {len(plan.requests):,} requests to {wanted.upstream}, recording run {wanted.new_run}")
    with (
        _hinting(wanted),
        closing(send(directory, wanted, plan, key or None)) as sending,
        click.progressbar(length=len(plan.requests), label="Sent", show_pos=True, file=sys.stderr) as bar,
    ):
        for sent in sending:
            attempts += sent.attempts
            problem = sent.problem or problem
            bar.update(1)
    with ready_to_query(directory) as connection:
        unanswered = count_unanswered(connection, wanted, plan)
    note(f"{len(plan.requests) - unanswered:,} of {len(plan.requests):,} are answered, after {attempts:,} attempts.")
    if not unanswered:
        return ExitCode.OK
    note(f"{unanswered:,} are not ({problem or 'the answer was not recorded'}).")
    _hint(wanted)
    return ExitCode.UNANSWERED


@contextmanager
def _hinting(wanted: Replay) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _hint(wanted)
        raise


def _hint(wanted: Replay) -> None:
    note(f"To send what has no answer, repeat the command with --run {wanted.new_run} --resume.")


def _changes(model: str | None, settings: tuple[str, ...]) -> dict[str, Any]:
    """Parameters to set, from JSON where a value is some, else from the text that it is."""
    from ...wire.json_text import NOT_JSON, loads

    changes: dict[str, Any] = {} if model is None else {"model": model}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not name or not equals:
            raise UsageError(f"--set {setting!r} is no NAME=VALUE, such as temperature=0.")
        value = loads(text)
        changes[name] = text if value is NOT_JSON else value
    return changes


def _name_refused(plan: ReplayPlan) -> None:
    for refused in plan.refused[:_MOST_NAMED]:
        note(f"Not sent: {refused.exchange_id}: {refused.reason}.")
    if (more := len(plan.refused) - _MOST_NAMED) > 0:
        note(f"Not sent: {more:,} more.")
    if plan.repeated:
        note(f"Not sent: {plan.repeated:,} that the server did not take on and that were made again.")
