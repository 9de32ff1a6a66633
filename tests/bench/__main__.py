"""`make bench`: what recording costs, against mitmproxy that streams and records nothing.

Both proxies stand between the same client and the same built-in provider and are measured by turns. A pair gives one
ratio; the machine's noise shows in their spread.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tapeline.pipeline.provider import BuiltInProvider, Call, run_workload

from ..support.recorder import RunningRecorder, clean_environment

PAIRS = 5
CALLS = 200
CLIENTS = 16
READY_SECONDS = 30
STREAM_ALL = """
import sys
from mitmproxy import ctx

def running():
    for server in ctx.master.addons.get("proxyserver").servers:
        print("PORT", server.listen_addrs[0][1], flush=True)

def requestheaders(flow):
    flow.request.stream = True

def responseheaders(flow):
    flow.response.stream = True
"""
WORKLOADS: dict[str, dict[str, object]] = {
    "streamed, 200 events": {"model": "claude-sonnet-4.5", "stream": True},
    "streamed, 10 events": {"model": "gpt-4o-mini", "stream": True},
    "not streamed": {"model": "gpt-4o-mini"},
}


def main() -> int:
    """Print a line a workload: calls per second of both, and the ratio."""
    print(f"{PAIRS} pairs of {CALLS} calls by {CLIENTS} clients; calls/s, ratio recorder / bare mitmproxy")  # noqa: T201
    with (
        BuiltInProvider(pace=0) as provider,
        tempfile.TemporaryDirectory() as folder,
        RunningRecorder(Path(folder) / "data", "--upstream", provider.url) as recorder,
        bare_mitmproxy(Path(folder), provider.url) as bare,
    ):
        for name, body in WORKLOADS.items():
            compare(name, [make_call(body)] * CALLS, recorder.address, bare)
    return 0


def make_call(body: dict[str, object]) -> Call:
    return Call("127.0.0.1", "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": "Hello!"}]})


def compare(name: str, calls: list[Call], recorder: str, bare: str) -> None:
    rate(calls[:CLIENTS], recorder), rate(calls[:CLIENTS], bare)
    pairs = [(rate(calls, recorder), rate(calls, bare)) for _ in range(PAIRS)]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = sorted(one / other for one, other in pairs)
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(f"{name:<24} {ours:>8.0f} {theirs:>8.0f}   {spread}")  # noqa: T201


def rate(calls: list[Call], address: str) -> float:
    """Calls per second."""
    began = time.perf_counter()
    results = run_workload(calls, proxy=None, provider_url=address, concurrency=CLIENTS)
    seconds = time.perf_counter() - began
    assert all(result.status == 200 and not result.ended_early for result in results)
    return len(calls) / seconds


@contextmanager
def bare_mitmproxy(folder: Path, upstream: str) -> Iterator[str]:
    """mitmdump that passes streams on and does nothing else; gives its address."""
    script = folder / "stream_all.py"
    script.write_text(STREAM_ALL)
    command = [str(Path(sys.executable).with_name("mitmdump")), "--quiet", "-s", str(script)]
    options = ["--mode", f"reverse:{upstream}@127.0.0.1:0", "--set", f"confdir={folder / 'conf'}"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"PORT (\d+)", process.stdout.readline())
            assert found, "mitmdump did not start"
            yield f"http://127.0.0.1:{found.group(1)}"
        finally:
            process.terminate()
            process.wait(READY_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
