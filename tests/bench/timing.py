"""How well a served recording keeps the recorded times: `python -m tests.bench.timing`, part of `make bench`.

It records the demo's calls, serves them at the recorded speed and records them again. It prints how far each event's
time is from the recorded one. Both recordings include the recorder's own delay and the noise of the machine.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from tapeline.pipeline.demo import WORKLOAD, BuiltInProvider, run_workload
from tests.support.processes.recorder import RunningRecorder, query
from tests.support.servers.serving import serving

TIMES = "SELECT event_offsets_us AS offsets FROM exchanges WHERE run = '{}' ORDER BY started_at, exchange_id"


def main() -> int:
    """Print the median, the 95th percentile and the largest difference."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with (
            BuiltInProvider() as provider,
            RunningRecorder(data, "--run", "before", "--mode", f"upstream:{provider.url}") as recorder,
        ):
            run_workload(WORKLOAD, proxy=recorder.address, provider_url=provider.url, concurrency=1)
        with (
            serving(data, "before", "--speed", "1") as served,
            RunningRecorder(data, "--run", "after", "--mode", f"upstream:{served.url}") as recorder,
        ):
            run_workload(WORKLOAD, proxy=recorder.address, provider_url=served.url, concurrency=1)
        before, after = (
            [row["offsets"] or [] for row in query(data, TIMES.format(run))] for run in ("before", "after")
        )
    pairs = [pair for one, other in zip(before, after, strict=True) for pair in zip(one, other, strict=False)]
    errors = [abs(served_us - recorded_us) / 1000 for recorded_us, served_us in pairs]
    at = statistics.quantiles(errors, n=100)
    print(  # noqa: T201
        f"served beside recorded times of {len(errors):,} events, ms: "
        f"p50 {at[49]:.2f}, p95 {at[94]:.2f}, max {max(errors):.2f}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
