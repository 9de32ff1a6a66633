"""`python -m tests.bench.diff [PAIRS]`: how long a comparison takes, on generated recordings.

Half of the candidate's texts differ from BASE's in a tenth of their 150 words; one request in ten occurs twice.
Loading is measured apart, because it is done once.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.diff.formats import format_result
from tapeline.pipeline.diff.rules import read_rules
from tapeline.pipeline.diff.run import Comparison, compare
from tapeline.pipeline.warehouse import database
from tapeline.pipeline.warehouse.engines.duckdb import DUCKDB_TYPES

WORDS = 150
RULES = "any,text>0.5,p95_ttft>20%,unpaired>5%"
FORMATS = ("table", "json", "markdown", "html", "junit")
_EXCHANGES = """
COPY (
  SELECT
    printf('%s-%08d', $run, i) AS exchange_id,
    'bench' AS recorder_id,
    $run AS run,
    TIMESTAMPTZ '2026-11-21 00:00:00Z' + to_milliseconds(i) AS started_at,
    'openai' AS provider,
    'gpt-4o-mini' AS model,
    md5(CAST(i % (pairs * 9 // 10) AS VARCHAR)) AS request_fingerprint,
    CAST(200 AS BIGINT) AS status_code,
    true AS streamed,
    CAST([{
      'index': 0, 'role': 'assistant',
      'content': array_to_string(list_transform(
        range($words),
        lambda w: 'w' || hash(i * 1000 + w + CASE WHEN $changed AND i % 2 = 0 AND w % 10 = 0 THEN 7 ELSE 0 END) % 9999
      ), ' '),
      'refusal': NULL, 'reasoning': NULL, 'finish_reason': 'stop',
      'tool_calls': NULL, 'logprobs': NULL, 'extra': NULL
    }] AS {choices}) AS choices,
    100 + i % 400 AS prompt_tokens,
    200 + i % 50 AS completion_tokens,
    300 + i % 450 AS total_tokens,
    CAST(200000 + hash(i) % 200000 AS BIGINT) AS first_token_us,
    CAST(900000 + hash(i, $run) % 900000 AS BIGINT) AS ended_us,
    'complete' AS outcome
  FROM (SELECT i, $pairs AS pairs FROM range($pairs) t(i))
) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""


def main() -> None:
    """Print how long loading, comparing and formatting took, and the peak memory."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        directory = DataDirectory(Path(folder) / "data")
        directory.create()
        for run in ("base", "candidate"):
            make_recording(directory, run, pairs)
        loading = timed(lambda: load(directory))
        with database.querying(directory) as connection:
            began, began_cpu = time.perf_counter(), time.process_time()
            result = compare(connection, Comparison("base", "candidate", rules=tuple(read_rules(RULES))))
            comparing, comparing_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    formats = {name: timed(lambda name=name: format_result(name, result)) for name in FORMATS}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(  # noqa: T201
        f"{', '.join(f'{name} {seconds:.1f} s' for name, seconds in formats.items())}\n"
        f"{len(result.pairs):,} pairs, {len(result.changed):,} changed: "
        f"loaded in {loading:.1f} s, compared in {comparing:.1f} s ({comparing_cpu:.1f} s of CPU), "
        f"at most {memory:,.0f} MiB"
    )


def load(directory: DataDirectory) -> None:
    """Load the dataset; fails on a problem."""
    loaded = database.load(directory)
    assert not loaded.problems, loaded.problems


def make_recording(directory: DataDirectory, run: str, pairs: int) -> None:
    """Write one day of a dataset."""
    folder = directory.dataset("exchanges") / "date=2026-11-21"
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {"run": run, "pairs": pairs, "words": WORDS, "changed": run == "candidate"}
    sql = _EXCHANGES.replace("{path}", str(folder / f"{run}-1.parquet")).replace("{choices}", DUCKDB_TYPES["choices"])
    duckdb.execute(sql, parameters)


def timed(action: object) -> float:
    began = time.perf_counter()
    assert callable(action)
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
