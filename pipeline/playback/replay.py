"""Sends a recording's requests again through a recorder, so that the responses make a new recording.

`replay_plan` decides what to send and `sender` sends it; this module reads both recordings and runs the recorder. The
new recording alone tells which requests are answered, so a replay that was killed can continue where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlsplit

import duckdb

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import is_locked

from ..apis.rows import WarehouseRow
from ..errors import DataError, UsageError
from ..proxy.modes import reverse_mode
from ..proxy.recorder_process import recorder
from ..reports.run import Table
from ..sealing.journal import open_journal_for_sealing
from ..warehouse.exchanges import read_contents, read_rows
from ..warehouse.query import Prices, fetch
from .replay_plan import ReplayPlan, answered_marks, has_other_changes, plan_replay
from .sender import SentRequest, Target, send_all

STILL_RECORDING_SECONDS = 60.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Replay:
    """Which requests to send again (`run` may contain `*`), to which upstream, recorded as which run, and how."""

    run: str
    upstream: str
    new_run: str
    changes: dict[str, Any] = field(default_factory=dict)
    repeat: int = 1
    concurrency: int = 1
    speed: float = 0.0
    resume: bool = False

    def target(self, recorder_address: str, key: str | None) -> Target:
        """Return where the recorder accepts requests for the upstream, without the endpoint of a request's API."""
        _, base_path = reverse_mode(self.upstream)
        query = urlsplit(self.upstream).query
        return Target(f"{recorder_address}{base_path}{f'?{query}' if query else ''}", key)


def prepare(connection: duckdb.DuckDBPyConnection, replay: Replay, prices: Prices | None = None) -> ReplayPlan:
    """Plan the requests that are still to be sent, with their costs if prices are passed.

    Raises UsageError for runs or an upstream that do not fit.
    """
    reverse_mode(replay.upstream)
    if replay.run == replay.new_run:
        raise UsageError(f"Run {replay.run!r} cannot be recorded into itself: name another with --run.")
    rows = [row for row in read_rows(connection, replay.run, prices) if row["run"] != replay.new_run]
    recorded = _recorded(connection, replay.new_run)
    if recorded and not replay.resume:
        raise UsageError(f"Run {replay.new_run!r} exists: continue it with --resume, or name another with --run.")
    if has_other_changes(recorded, replay.changes):
        raise UsageError(f"Run {replay.new_run!r} was sent with other changes: use the same, or another --run.")
    plan = plan_replay(rows, read_contents(connection, rows), replay.changes, replay.repeat)
    if plan.refused and not plan.requests:
        raise UsageError(
            f"No request of run {replay.run!r} can be sent again. The first of {len(plan.refused):,} cannot, because "
            f"{plan.refused[0].reason}."
        )
    answered = answered_marks(recorded)
    plan.requests = [request for request in plan.requests if request.mark not in answered]
    return plan


def send(directory: DataDirectory, replay: Replay, plan: ReplayPlan, key: str | None) -> Generator[SentRequest]:
    """Send the planned requests through a recorder, and yield each one as it ends."""
    with recorder(directory.root, replay.new_run, "--upstream", replay.upstream) as address:
        yield from send_all(plan, replay.target(address, key), concurrency=replay.concurrency, speed=replay.speed)


@dataclass
class Progress:
    """What is known of a replay while it runs."""

    attempts: int = 0
    #: Why the last request without a response has none.
    problem: str = ""

    def add(self, sent: SentRequest) -> None:
        """Count a request that has ended."""
        self.attempts += sent.attempts
        self.problem = sent.problem or self.problem


def count_unanswered(connection: duckdb.DuckDBPyConnection, replay: Replay, plan: ReplayPlan) -> int:
    """Count the planned requests that have no response in the new recording."""
    answered = answered_marks(_recorded(connection, replay.new_run))
    return sum(request.mark not in answered for request in plan.requests)


def resume_hint(replay: Replay) -> str:
    """Return how to continue a replay that did not get all responses."""
    return f"To send the unanswered requests again, repeat the command with --run {replay.new_run} --resume."


def wait_until_recorded(directory: DataDirectory, run: str) -> None:
    """Wait for recorders that still write this run. Raises DataError for one that does not end."""
    deadline = time.monotonic() + STILL_RECORDING_SECONDS
    while any(_writes(directory, recorder_id, run) for recorder_id in directory.recorder_ids()):
        if time.monotonic() > deadline:
            raise DataError(f"Run {run!r} is still being recorded: end its recorder, then resume.")
        time.sleep(_POLL_SECONDS)


def plan_table(plan: ReplayPlan) -> Table:
    """Return a row for each model: how many requests would be sent, and their recorded tokens and the cost of these.

    If the replay changes the model, the cost is that of the new model, where the planning connection had its prices.
    """
    columns = ["model", "requests", "prompt_tokens", "completion_tokens", "usage_reported_by", "cost_usd", "priced"]
    cost: Literal["what_if_cost_usd", "cost_usd"] = "what_if_cost_usd" if "model" in plan.changes else "cost_usd"
    models: dict[str, list[WarehouseRow]] = {}
    for request in plan.requests:
        model = plan.changes.get("model", request.row["model"])
        models.setdefault(str(model) if model is not None else "", []).append(request.row)
    rows = [
        (
            model,
            len(members),
            _sum(row["prompt_tokens"] for row in members),
            _sum(row["completion_tokens"] for row in members),
            sum(row["prompt_tokens"] is not None for row in members),
            _sum(row[cost] for row in members),
            sum(row[cost] is not None for row in members),
        )
        for model, members in sorted(models.items())
    ]
    title = (
        f"{len(plan.requests):,} requests would be sent and {len(plan.refused):,} cannot be; "
        "tokens are those of the recording, and costs are estimated from them."
    )
    return Table("replay", title, columns, rows)


def _sum(values: Iterable[int | Decimal | None]) -> int | Decimal | None:
    reported = [value for value in values if value is not None]
    return sum(reported) if reported else None


def _recorded(connection: duckdb.DuckDBPyConnection, run: str) -> list[dict[str, Any]]:
    """Read the columns of a new recording that tell which requests were answered."""
    columns, rows = fetch(
        connection,
        "SELECT status_code, outcome, request_headers FROM stored.exchanges WHERE run = $run",
        {"run": run},
    )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _writes(directory: DataDirectory, recorder_id: str, run: str) -> bool:
    if not is_locked(directory.recorder_lock(recorder_id)):
        return False
    try:
        with closing(open_journal_for_sealing(directory.journal(recorder_id))) as journal:
            return journal.about.get("run") == run
    except DataError:
        return False  # It ended just now, or sealing will report what is wrong with it.
