"""`tapeline demo`: the main job from end to end, on loopback alone, without a key.

A built-in provider answers, a client calls it through a real recorder in a process of its own, and the reports are
printed with what the provider knows it sent beside them. The recorder goes through the provider as through an upstream
proxy, so that the recording shows the hosts that the calls name, and nothing leaves this machine.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tapeline.addons.tapeline_paths import DataDirectory

from . import warehouse
from .errors import DataError
from .provider import WORKLOAD, BuiltInProvider, Sent, dialect_for, reports_usage, run_workload
from .render import as_table
from .report_text import find_report
from .reports import Filters, run_report
from .seal import seal

REPORTS = ("usage", "latency", "finish-reasons", "errors")
READY_SECONDS = 30.0
STOP_SECONDS = 60.0
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
_ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+) is a proxy")


def run_demo(data: Path, run: str) -> Iterator[str]:
    """Record the workload under the label `run`; gives the text to print, part by part."""
    with BuiltInProvider() as provider:
        yield f"A provider of chat completions answers on {provider.url}."
        with _recorder(data, run, provider) as address:
            yield f"A recorder passes {len(WORKLOAD)} calls on from {address}: five dialects, streams, tools, errors."
            run_workload(WORKLOAD, proxy=address, provider_url=provider.url)
        sent = provider.sent
    directory = DataDirectory(data.absolute())
    seal(directory)
    warehouse.load(directory)
    yield "What was recorded:\n"
    with warehouse.querying(directory) as connection:
        for name in REPORTS:
            yield as_table(run_report(connection, find_report(name), Filters(run=run)))
        recorded = connection.execute(
            "SELECT count(*), CAST(sum(completion_tokens) FILTER (WHERE outcome = 'complete') AS BIGINT) FROM exchanges"
        ).fetchone()
    yield _comparison(sent, recorded or (0, 0))
    yield _next_steps(data, run)


@contextmanager
def _recorder(data: Path, run: str, provider: BuiltInProvider) -> Iterator[str]:
    """`tapeline record` as a process; gives the address that it prints."""
    command = [sys.executable, "-P", "-m", "tapeline.pipeline", "record", "--data", str(data), "--run", run]
    process = subprocess.Popen(
        [*command, "--mode", f"upstream:{provider.url}"], stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    said: list[str] = []
    address: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if found := _ADDRESS.search(line):
                address.append(found.group(1))
                ready.set()
        ready.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        if not ready.wait(READY_SECONDS) or not address:
            raise DataError(f"The recorder did not start: {''.join(said).strip() or 'it said nothing'}")
        yield address[0]
        process.send_signal(signal.SIGINT)
        if process.wait(STOP_SECONDS) != 0:
            raise DataError(f"The recorder did not end well: {''.join(said).strip()}")
    finally:
        process.kill()
        process.wait()
        listener.join()
        if process.stderr is not None:
            process.stderr.close()


def _comparison(sent: list[Sent], recorded: tuple[int, int | None]) -> str:
    """What the provider counted beside what was recorded."""
    calls, tokens = recorded
    reported = sum(_tokens_reported(one) for one in sent)
    return (
        f"The provider counted {len(sent):,} calls and reported {reported:,} completion tokens in whole answers.\n"
        f"Recorded are          {calls:,} calls and          {tokens or 0:,} completion tokens in whole answers.\n"
    )


def _tokens_reported(sent: Sent) -> int:
    if sent.completion is None or sent.ended != "complete":
        return 0
    usage = sent.completion["usage"]
    if sent.request.get("stream") and not reports_usage(sent.request, dialect_for(sent.host)):
        usage = sent.completion.get("extra_fields", {}).get("billed_usage", {})
    return int(usage.get("completion_tokens", 0))


def _next_steps(data: Path, run: str) -> str:
    return NEXT_STEPS.replace("DATA", str(data)).replace("RUN", run)
