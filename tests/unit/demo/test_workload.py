"""The demo's workload: its results match what the provider sent, and its calls cover every table."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tapeline.pipeline.demo import ANSWERS, SYSTEMS, WORKLOAD, BuiltInProvider, run_workload


@pytest.mark.parametrize("through_proxy", [False, True])
def test_workload_results_match_what_was_sent(through_proxy: bool) -> None:
    with BuiltInProvider(pace=0) as provider:
        results = run_workload(WORKLOAD, provider.url if through_proxy else None, provider.url)
        sent = provider.wait_for_sent(len(WORKLOAD))
    made = {json.dumps([call.host, call.path, call.body]) for call in WORKLOAD}
    assert {json.dumps([entry.host, entry.path, entry.request]) for entry in sent} == made
    limits = [call.hang_up_after_events for call in WORKLOAD]
    patient = [pair for pair in zip(WORKLOAD, results, strict=True) if pair[0].hang_up_after_events is None]
    seen = Counter((call.host, got.status, got.bytes_received, got.events) for call, got in patient)
    assert seen <= Counter((entry.host, entry.status, len(entry.body), entry.events) for entry in sent)
    hasty = [(limit, got) for limit, got in zip(limits, results, strict=True) if limit]
    assert [(got.events >= limit, got.ended_early) for limit, got in hasty] == [(True, True)]
    assert all(result.failure is None for result in results)
    assert {entry.ended for entry in sent} >= {"complete", "reset", "error_event", "truncated"}


def test_workload_covers_the_tables() -> None:
    models = {str(call.body.get("model")).rpartition("/")[2] for call in WORKLOAD}
    assert models >= set(ANSWERS)
    assert {call.host for call in WORKLOAD} == {*SYSTEMS, "api.openai.com"}


def test_agent_resends_its_history_with_the_answers() -> None:
    turns = [call.body["messages"] for call in WORKLOAD if call.conversation == "coder"]
    assert [len(messages) for messages in turns] == [2, 4, 6]
    assert turns[2][:4] == turns[1]
    assert turns[1][2]["tool_calls"][0]["id"] == turns[1][3]["tool_call_id"]
