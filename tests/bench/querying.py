"""How long reports take on a large warehouse, against handwritten SQL for the same figures on the Parquet files.

Both run in turns, each on an open connection; neither caches the metadata of files. The reports on cost have no
handwritten SQL, because no file has the prices.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import duckdb

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.pricing.stored_costs import bring_up_to_date, prices_for
from tapeline.pipeline.reports.definition import Report, all_reports
from tapeline.pipeline.reports.run import run_report
from tapeline.pipeline.warehouse import database
from tapeline.pipeline.warehouse.query import Filters, Prices
from tests.bench import made
from tests.bench.figures import Figure, of_one, of_pairs
from tests.bench.plan import Plan

_MODEL = "coalesce(model, response_model)"
_QUANTILES = "quantile_cont({}, [0.5, 0.9, 0.95, 0.99])"
#: Handwritten SQL for some reports; the view `calls` reads the files.
BY_HAND = {
    "usage": f"""
        SELECT CAST(started_at AS DATE) AS day, {_MODEL} AS m, count(*), count(*) FILTER (usage_source <> 'absent'),
          sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens), sum(total_tokens)
        FROM calls GROUP BY ALL ORDER BY ALL""",
    "overview": f"""
        SELECT {_MODEL} AS m, count(*), count(*) FILTER (outcome = 'complete'), sum(prompt_tokens),
          sum(completion_tokens), median(first_token_us) FILTER (outcome = 'complete') / 1000,
          median(ended_us) FILTER (outcome = 'complete') / 1000
        FROM calls GROUP BY ALL ORDER BY ALL""",
    "latency": f"""
        SELECT {_MODEL} AS m, streamed, count(*), {_QUANTILES.format("first_byte_us")},
          {_QUANTILES.format("first_event_us")}, {_QUANTILES.format("first_token_us")},
          {_QUANTILES.format("first_content_us")}, {_QUANTILES.format("first_reasoning_us")},
          {_QUANTILES.format("first_tool_call_us")}, {_QUANTILES.format("ended_us")},
          {_QUANTILES.format("connect_us")}, {_QUANTILES.format("tls_us")},
          {_QUANTILES.format("completion_tokens * 1e6 / ended_us")},
          {_QUANTILES.format("(completion_tokens - 1) * 1e6 / (last_token_us - first_token_us)")}
        FROM calls WHERE outcome = 'complete' GROUP BY ALL ORDER BY ALL""",
    "errors": f"""
        SELECT provider, {_MODEL} AS m, outcome, status_code, error_type, error_code, count(*), max(started_at),
          max(coalesce(error_message, outcome_detail))
        FROM calls WHERE outcome <> 'complete' GROUP BY ALL ORDER BY ALL""",
    "finish-reasons": f"""
        SELECT {_MODEL} AS m, c.finish_reason, count(*), count(DISTINCT exchange_id)
        FROM calls, unnest(choices) AS t(c) GROUP BY ALL ORDER BY ALL""",
    "answers": f"""
        SELECT {_MODEL} AS m, count(DISTINCT exchange_id) FILTER (outcome = 'complete'),
          count(*) FILTER (outcome = 'complete'), avg((c.finish_reason = 'length')::INT) FILTER (outcome = 'complete'),
          avg((c.finish_reason = 'content_filter')::INT) FILTER (outcome = 'complete'),
          avg((len(c.tool_calls) > 0)::INT) FILTER (outcome = 'complete'),
          avg((c.refusal IS NOT NULL)::INT) FILTER (outcome = 'complete'),
          count(*) FILTER (outcome <> 'complete' AND streamed AND c.finish_reason IS NULL)
        FROM calls, unnest(choices) AS t(c) GROUP BY ALL ORDER BY ALL""",
    "runs": f"""
        SELECT run, count(DISTINCT recorder_id), min(started_at), max(started_at), count(*),
          count(*) FILTER (outcome = 'complete'), count(DISTINCT {_MODEL}), sum(total_tokens)
        FROM calls GROUP BY ALL ORDER BY ALL""",
    "stalls": f"""
        SELECT m, count(*), {_QUANTILES.format("gap")}, max(gap), count(*) FILTER (gap >= 1000000)
        FROM (
          SELECT {_MODEL} AS m, unnest(event_offsets_us[2:]) - unnest(event_offsets_us[:-2]) AS gap
          FROM calls WHERE outcome = 'complete' AND streamed
        ) GROUP BY ALL ORDER BY ALL""",
}


def measure(plan: Plan, folder: Path) -> list[Figure]:
    """Measure all figures of this part."""
    data = DataDirectory(folder / "queried")
    data.create()
    made.make(data, plan.rows, with_content=plan.with_content)
    began = time.perf_counter()
    database.load(data)
    figures = [of_one("Loading", f"{plan.rows:,} exchanges with their content", time.perf_counter() - began, "s")]
    bring_up_to_date(data, None)
    part = f"Reports on {plan.rows:,} exchanges"
    files = data.dataset("exchanges") / "*" / "*.parquet"
    with database.querying(data) as ours, closing(duckdb.connect()) as theirs:
        theirs.execute("SET TimeZone = 'UTC'")
        theirs.execute(f"CREATE VIEW calls AS FROM read_parquet('{files}', union_by_name = true)")
        prices = prices_for(ours, None, model="openai/gpt-4o-mini")
        for report in all_reports():
            figures.append(_report_figure(plan, part, report, prices, (ours, theirs)))
            plan.show(figures[-1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures.append(of_one(part, "peak memory of all of it, making the dataset included", peak, "MiB", "<= 4096"))
    return figures


def _report_figure(
    plan: Plan, part: str, report: Report, prices: Prices, connections: tuple[duckdb.DuckDBPyConnection, ...]
) -> Figure:
    ours, theirs = connections
    filters = Filters(other_model="openai/gpt-4o-mini" if report.compares_prices else None)
    seconds = _median([_timed(lambda: run_report(ours, report, filters, prices)) for _ in range(3)])
    goal = f"<= {plan.report_seconds:g}"
    if report.name not in BY_HAND:
        return of_one(part, report.name, seconds, "s", goal)
    by_hand = BY_HAND[report.name]
    pairs = [
        (_timed(lambda: run_report(ours, report, filters, prices)), _timed(lambda: theirs.execute(by_hand).fetchall()))
        for _ in range(plan.report_pairs)
    ]
    figure = of_pairs(part, report.name, pairs, "s", "SQL by hand on the Parquet", "<= 1.2")
    both = f"{goal} s; <= 1.2"
    return replace(figure, goal=both, is_met=bool(figure.is_met) and figure.ours <= plan.report_seconds)


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
