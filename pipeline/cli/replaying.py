"""Plans and sends a replay for the command line: prices for a dry run, progress, and a summary on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import click

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..errors import ExitCode, UsageError
from .output import note
from .prepare import ready_to_query, ready_with_prices, ready_without_prices

if TYPE_CHECKING:
    import duckdb

    from ..playback.replay import Replay
    from ..playback.replay_plan import ReplayPlan
    from ..warehouse.query import Prices


@contextmanager
def ready_to_plan(
    directory: DataDirectory, model: str | None, *, with_prices: bool
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Prices | None]]:
    """Connect to plan a replay; with prices, also those of the model to be asked, if they are known."""
    with ExitStack() as stack:
        if not with_prices:
            yield stack.enter_context(ready_without_prices(directory))
            return
        try:
            ready = stack.enter_context(ready_with_prices(directory, model=model))
        except UsageError as unknown_model:
            if model is None:
                raise
            note(str(unknown_model))
            ready = stack.enter_context(ready_with_prices(directory))
        yield ready


def send_planned(directory: DataDirectory, wanted: Replay, plan: ReplayPlan, key_env: str) -> int:
    """Send the planned requests, with a progress bar and a summary on stderr, and return the exit code."""
    from ..playback.replay import Progress, count_unanswered, resume_hint, send

    total = len(plan.requests)
    if not total:
        note("Nothing is to be sent.")
        return ExitCode.OK
    key = os.environ.get(key_env)
    if not key:
        note(f"{key_env} is not set: requests go without a key.")
    progress = Progress()
    note(f"Sending {total:,} requests to {wanted.upstream}, recording run {wanted.new_run}")
    try:
        with (
            closing(send(directory, wanted, plan, key or None)) as sent_requests,
            click.progressbar(length=total, label="Sent", show_pos=True, file=sys.stderr) as bar,
        ):
            for sent in sent_requests:
                progress.add(sent)
                bar.update(1)
    except KeyboardInterrupt:
        note(resume_hint(wanted))
        raise
    with ready_to_query(directory) as connection:
        unanswered = count_unanswered(connection, wanted, plan)
    note(f"{total - unanswered:,} of {total:,} are answered, after {progress.attempts:,} attempts.")
    if not unanswered:
        return ExitCode.OK
    note(f"{unanswered:,} are not ({progress.problem or 'the response was not recorded'}).")
    note(resume_hint(wanted))
    return ExitCode.UNANSWERED
