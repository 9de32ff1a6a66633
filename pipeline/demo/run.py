"""`tapeline demo`: the main job from end to end, on loopback only and without a key.

A client calls the built-in provider through a real recorder, which runs in a process of its own. The reports are
printed, with the provider's own count of what it sent. The recorder uses the provider as its upstream proxy, so that
the recording shows the hosts that the calls name, and nothing leaves this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..proxy.recorder_process import recorder
from ..reports.definition import find_report
from ..reports.render import as_table
from ..reports.run import run_report
from ..sealing.seal import seal
from ..warehouse import database
from ..warehouse.query import Filters
from . import WORKLOAD, BuiltInProvider, SentResponse, reports_usage, run_workload, system_for

REPORTS = ("usage", "latency", "finish-reasons", "errors")
NEXT_STEPS = """Look closer:
  tapeline tail --no-follow --data DATA
  tapeline report latency --provider aiand --run RUN --data DATA
  tapeline report conversations --run RUN --data DATA
  tapeline report cost --by provider,model --run RUN --data DATA
  tapeline sql "SELECT name, count(*) FROM tool_calls GROUP BY name" --data DATA

With a program of your own:
  tapeline record -- python my_app.py
  tapeline record --upstream https://api.openai.com/v1     (then OPENAI_BASE_URL as it prints)
  tapeline report
"""


def run_demo(data: Path, run: str) -> Iterator[str]:
    """Record the workload under the label `run`, and yield the text to print, part by part."""
    with BuiltInProvider() as provider:
        yield f"A provider of chat completions answers on {provider.url}."
        with recorder(data, run, "--mode", f"upstream:{provider.url}") as address:
            yield f"A recorder passes {len(WORKLOAD)} calls on from {address}: six systems, streams, tools, errors."
            run_workload(WORKLOAD, proxy=address, provider_url=provider.url)
        sent = provider.sent
    directory = DataDirectory(data.absolute())
    seal(directory)
    database.load(directory)
    yield "What was recorded:\n"
    with database.querying(directory) as connection:
        for name in REPORTS:
            yield as_table(run_report(connection, find_report(name), Filters(run=run)))
        recorded = connection.execute(
            "SELECT count(*), CAST(sum(completion_tokens) FILTER (WHERE outcome = 'complete') AS BIGINT) FROM exchanges"
        ).fetchone()
    yield _comparison(sent, recorded or (0, 0))
    yield _next_steps(data, run)


def _comparison(sent: list[SentResponse], recorded: tuple[int, int | None]) -> str:
    """Return the provider's counts beside the recorded ones."""
    calls, tokens = recorded
    reported = sum(map(_reported_tokens, sent))
    return (
        f"The provider counted {len(sent):,} calls and reported {reported:,} completion tokens in complete responses.\n"
        f"The recording has    {calls:,} calls and          {tokens or 0:,} completion tokens in complete responses.\n"
    )


def _reported_tokens(sent: SentResponse) -> int:
    if sent.completion is None or sent.ended != "complete":
        return 0
    usage = sent.completion["usage"]
    if sent.request.get("stream") and not reports_usage(sent.request, system_for(sent.host)):
        usage = sent.completion.get("extra_fields", {}).get("billed_usage", {})
    return int(usage.get("completion_tokens", 0))


def _next_steps(data: Path, run: str) -> str:
    return NEXT_STEPS.replace("DATA", str(data)).replace("RUN", run)
