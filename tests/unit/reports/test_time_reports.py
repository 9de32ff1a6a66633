"""Reports on time, endings and limits: their figures are worked out apart, from what the test records."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest
from tests.support.journals.journals import NOON_US, MadeUp, make_journal
from tests.support.journals.streamed import said, streamed
from tests.support.processes.recorder import query, tapeline_here

pytestmark = pytest.mark.slow

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US


def document(data: Path, *options: str) -> dict[str, Any]:
    result = tapeline_here("report", *options, "--data", data, "--format", "json")
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def rows(data: Path, *options: str) -> list[dict[str, Any]]:
    return list(document(data, *options)["rows"])


def measure(data: Path, name: str, *options: str) -> dict[str, Any]:
    """The row of `latency` with that measure."""
    (row,) = [row for row in rows(data, "latency", *options) if row["measure"] == name]
    return row


def test_every_first_is_a_measure_of_its_own(data: Path) -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    stream = streamed(
        (100_000, {"role": "assistant"}),
        (200_000, {"reasoning_content": "Hm."}),
        (300_000, {"content": "Yes"}),
        (400_000, {"tool_calls": [call]}),
    )
    make_journal(data, [stream])
    found = {row["measure"]: row["p50"] for row in rows(data, "latency")}
    assert found == {
        "first byte (ms)": 100,
        "first event (ms)": 100,
        "first token (ms)": 200,
        "first content (ms)": 300,
        "first reasoning (ms)": 200,
        "first tool call (ms)": 400,
        "total (ms)": 400,
    }


def test_percentiles_are_of_streamed_and_whole_answers_apart(data: Path) -> None:
    times = [10_000 * (number + 1) for number in range(40)]
    make_journal(data, [*(said(at, at + 5_000) for at in times), MadeUp(ended_us=9 * SECOND_US)])
    row = measure(data, "first token (ms)")
    cuts = quantiles([at / 1000 for at in times], n=100, method="inclusive")
    assert (row["streamed"], row["samples"]) == ("yes", 40)
    assert [row[name] for name in ("p50", "p90", "p95", "p99")] == pytest.approx([cuts[at] for at in (49, 89, 94, 98)])
    totals = {row["streamed"]: row for row in rows(data, "latency") if row["measure"] == "total (ms)"}
    assert (totals["no"]["samples"], totals["no"]["p50"]) == (1, 9000)
    assert totals["yes"]["samples"] == 40


def test_tokens_a_second_say_by_what_they_are_divided(data: Path) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 11}
    event = streamed((SECOND_US, {"content": "a"}), (3 * SECOND_US, {"content": "b"}))
    event.pieces.insert(
        -1, (4 * SECOND_US, b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":11}}\n\n')
    )
    event.ended_us = 4 * SECOND_US
    make_journal(data, [event, MadeUp(model="whole", usage=usage, ended_us=2 * SECOND_US)])
    assert measure(data, "output tokens/s, stream")["p50"] == pytest.approx((11 - 1) / (3 - 1))
    by_call = {
        row["streamed"]: row["p50"] for row in rows(data, "latency") if row["measure"] == "output tokens/s, call"
    }
    assert by_call == pytest.approx({"yes": 11 / 4, "no": 11 / 2})


def test_waits_are_grouped_by_what_is_asked_for(data: Path) -> None:
    make_journal(data, [said(1000, 2000), said(3000, 4000, started_at_us=NOON_US + HOUR_US, host="api.example.com")])
    by_hour = [row for row in rows(data, "latency", "--by", "hour") if row["measure"] == "first token (ms)"]
    assert [(row["hour"], row["p50"]) for row in by_hour] == [("2026-11-21 10:00", 1), ("2026-11-21 11:00", 3)]
    by_both = [row for row in rows(data, "latency", "--by", "provider,hour") if row["measure"] == "first token (ms)"]
    assert [(row["provider"], row["hour"]) for row in by_both] == [
        ("api.example.com", "2026-11-21 11:00"),
        ("openai", "2026-11-21 10:00"),
    ]


def test_pauses_within_streams(data: Path) -> None:
    """Pauses of 10 ms, and one of 1,500 ms: a stall."""
    steady = said(*range(100_000, 1_110_000, 10_000))
    stalling = said(100_000, 110_000, 1_610_000)
    make_journal(data, [steady, stalling, MadeUp()])
    (row,) = rows(data, "stalls")
    del row["model"]
    assert row == {
        "streams": 2,
        "gaps": 102,
        "gap_p50_ms": 10,
        "gap_p95_ms": 10,
        "gap_p99_ms": 10,
        "longest_gap_ms": 1500,
        "stalled_streams": 1,
        "stalls": 1,
        "stalled_share": pytest.approx(1500 / (1000 + 10 + 1500)),
    }
    (every,) = rows(data, "stalls", "--param", "stall_ms=10")
    assert (every["stalled_streams"], every["stalls"], every["stalled_share"]) == (2, 102, 1)
    assert document(data, "stalls", "--param", "stall_ms=10")["params"] == {"stall_ms": 10}


def test_how_answers_end(data: Path) -> None:
    tool_call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    calling = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [tool_call]}}
    refusing = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "refusal": "No."}}
    make_journal(
        data,
        [
            MadeUp(),
            MadeUp(finish_reason="length", params={"max_tokens": 2}),
            MadeUp(finish_reason="content_filter"),
            MadeUp(answered={"choices": [calling]}),
            MadeUp(answered={"choices": [refusing]}),
            said(1000, 2000, finish_reason=None),
        ],
    )
    (row,) = rows(data, "answers")
    del row["model"]
    assert row == {
        "calls": 5,
        "choices": 5,
        "cut_share": 0.2,
        "filtered_share": 0.2,
        "calling_tools_share": 0.2,
        "refused_share": 0.2,
        "no_reason_share": 0,
        "broken_off": 1,
    }
    (cut,) = rows(data, "cut-answers")
    assert cut == {
        "model": "gpt-4o-mini",
        "limit": 2,
        "cut": 1,
        "choices": 1,
        "cut_share": 1,
        "completion_tokens": 2,
    }


def limited(at_us: int, content: str, *headers: tuple[str, str], status: int = 429) -> MadeUp:
    answer = MadeUp(content=content, status=status, usage=None, started_at_us=NOON_US + at_us, ended_us=100_000)
    answer.headers = [list(header) for header in headers]
    return answer


def test_what_was_turned_away_and_what_became_of_it(data: Path) -> None:
    later = NOON_US + 5 * SECOND_US
    make_journal(
        data,
        [
            limited(0, "patient", ("retry-after", "2")),
            MadeUp(content="patient", started_at_us=later, headers=[["x-ratelimit-remaining-requests", "7"]]),
            limited(0, "hasty", ("retry-after-ms", "20000")),
            limited(SECOND_US, "hasty", ("retry-after", "Sat, 21 Nov 2026 10:00:05 GMT"), status=503),
            limited(0, "gone", ("x-ratelimit-remaining-tokens", "12")),
            MadeUp(content="never asked before", headers=[["x-ratelimit-remaining-requests", "3"]]),
        ],
    )
    (row,) = rows(data, "rate-limits")
    assert row == {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "calls": 6,
        "limited": 3,
        "overloaded": 1,
        "told_to_wait": 3,
        # 2 s, 20 s, and until 10:00:05, which was 3.9 s after that answer.
        "wait_p50_s": pytest.approx(3.9),
        "longest_wait_s": 20,
        "retried": 2,
        "too_early": 1,
        "came_through": 1,
        "least_left_requests": 3,
        "least_left_tokens": 12,
    }


def test_a_call_of_another_run_is_no_retry(data: Path) -> None:
    make_journal(data, [limited(0, "again", ("retry-after", "1"))])
    make_journal(data, [MadeUp(content="again", started_at_us=NOON_US + HOUR_US)], "recorder-2", run="run-2")
    rows_by_calls = rows(data, "rate-limits", "--run", "run-1")
    assert [(row["limited"], row["retried"], row["came_through"]) for row in rows_by_calls] == [(1, 0, 0)]


def test_gaps_are_those_of_the_stored_offsets(data: Path) -> None:
    make_journal(data, [said(1000, 2500, 2600, 9000)])
    tapeline_here("load", "--data", data)
    gaps = query(data, "SELECT position, gap_us, is_longest FROM event_gaps ORDER BY position")
    assert [tuple(row.values()) for row in gaps] == [(1, 1500, False), (2, 100, False), (3, 6400, True)]
