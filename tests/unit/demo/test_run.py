"""The demo: the provider's own counts and the recorded ones have to agree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.support.processes.recorder import query, tapeline

from tapeline.pipeline.demo import WORKLOAD


def test_the_demo_prints_reports_with_the_figures_of_its_provider(tmp_path: Path) -> None:
    result = tapeline("demo", cwd=tmp_path, timeout=90)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for title in ("Calls and tokens", "How long answers took", "Why answers ended", "Calls that did not end well"):
        assert title in result.stdout
    counted, recorded = (
        [part for part in line.replace(",", "").split() if part.isdigit()]
        for line in result.stdout.splitlines()
        if "completion tokens in complete responses" in line
    )
    assert counted == recorded
    assert counted[0] == str(len(WORKLOAD))
    assert "tapeline record -- python my_app.py" in result.stdout
    assert_every_ending_was_staged(tmp_path / ".tapeline-demo")
    assert_agents_turns_are_linked(tmp_path / ".tapeline-demo")


def assert_every_ending_was_staged(data: Path) -> None:
    outcomes = {row["outcome"] for row in query(data, "SELECT DISTINCT outcome FROM exchanges")}
    expected = {"complete", "http_error", "stream_error", "truncated", "client_aborted", "upstream_aborted"}
    assert outcomes == expected
    (limited,) = query(data, "SELECT response_headers FROM exchanges WHERE status_code = 429")
    assert "retry-after" in {header["name"] for header in limited["response_headers"]}
    assert query(data, "SELECT count(*) AS n FROM exchanges WHERE len(reassembly_problems) > 0") == [{"n": 0}]
    assert query(data, "SELECT count(*) > 0 AS called FROM tool_calls") == [{"called": True}]


def assert_agents_turns_are_linked(data: Path) -> None:
    """The demo's agents run at the same time, and each turn continues the one before."""
    staged = Counter(call.conversation for call in WORKLOAD if call.conversation)
    linked = query(data, "SELECT count(*) AS turns FROM exchanges GROUP BY conversation_id HAVING count(*) > 1")
    assert sorted(row["turns"] for row in linked) == sorted(staged.values())
    branched = "SELECT 1 FROM exchanges GROUP BY parent_exchange_id HAVING parent_exchange_id <> '' AND count(*) > 1"
    assert query(data, branched) == []
