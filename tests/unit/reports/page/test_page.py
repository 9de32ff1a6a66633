"""The page of reports: what stands in it, and what its charts are asked to draw."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tapeline.pipeline.errors import UsageError
from tapeline.pipeline.reports.chart_spec import read_chart
from tapeline.pipeline.reports.page.charts import specifications
from tapeline.pipeline.reports.page.document import page
from tapeline.pipeline.reports.page.waterfall import COLUMNS, waterfall
from tapeline.pipeline.reports.run import Table

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e"


def table(*rows: tuple[Any, ...], columns: str, charts: tuple[str, ...] = ()) -> Table:
    return Table("made-up", "Made up.", columns.split(), list(rows), charts=charts)


def drawn(chart: str, *rows: tuple[Any, ...], columns: str) -> dict[str, Any]:
    (specification,) = specifications(table(*rows, columns=columns, charts=(chart,)))
    return specification


def values(specification: dict[str, Any]) -> list[dict[str, Any]]:
    (rows,) = specification["datasets"].values()
    return list(rows)


def test_a_chart_draws_the_figures_of_the_table() -> None:
    days = [(date(2026, 11, day), "m", 10 * day, Decimal("0.5")) for day in (20, 21)]
    shown = drawn("bar x=day y=tokens color=model", *days, columns="day model tokens cost_usd")
    assert values(shown) == [
        {"day": "2026-11-20", "tokens": 200, "model": "m"},
        {"day": "2026-11-21", "tokens": 210, "model": "m"},
    ]
    assert shown["encoding"]["x"]["type"] == "ordinal"
    assert values(drawn("line x=day y=cost_usd", *days, columns="day model tokens cost_usd"))[0]["cost_usd"] == 0.5


def test_many_days_stand_on_an_axis_of_time() -> None:
    days = [(date(2026, 10, day), day) for day in range(1, 31)]
    encoding = drawn("bar x=day y=calls", *days, columns="day calls")["encoding"]
    assert (encoding["x"]["type"], encoding["x"]["timeUnit"]) == ("temporal", "utcyearmonthdate")


def test_several_columns_stand_side_by_side() -> None:
    shown = drawn(
        "bar x=p50_ms,p95_ms y=model unit=ms", ("a", 1.0, 2.0), ("b", 3.0, None), columns="model p50_ms p95_ms"
    )
    assert [(row["model"], row["measure"], row["amount"]) for row in values(shown)] == [
        ("a", "p50 (ms)", 1.0),
        ("a", "p95 (ms)", 2.0),
        ("b", "p50 (ms)", 3.0),
    ]
    assert shown["encoding"]["yOffset"]["field"] == "measure"
    assert shown["encoding"]["x"]["title"] == "ms"


def test_what_is_not_known_is_not_drawn_as_nothing() -> None:
    shown = drawn("bar x=calls y=model", (None, 1), ("a", None), ("b", 0), columns="model calls")
    assert [(row["model"], row["calls"]) for row in values(shown)] == [("–", 1), ("b", 0)]
    assert specifications(table(("a", None), columns="model calls", charts=("bar x=calls y=model",))) == []


def test_names_that_look_like_paths_are_names() -> None:
    encoding = drawn("bar x=a.b y=model", ("m", 1), columns="model a.b")["encoding"]
    assert encoding["x"]["field"] == "a\\.b"


def test_rows_can_be_chosen() -> None:
    rows = [("first token (ms)", 1), ("total (ms)", 2)]
    shown = drawn('bar x=p50 y=measure where="measure:total (ms)"', *rows, columns="measure p50")
    assert [row["p50"] for row in values(shown)] == [2]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "pie x=a y=b",
        "bar x=a",
        "bar x= y=b",
        "bar x=a y=b z=c",
        "bar x=a,b y=c,d",
        "bar x='a y=b",
        "bar x=a y=b where=c",
    ],
)
def test_a_line_that_is_no_chart_is_refused_with_the_grammar(line: str) -> None:
    with pytest.raises(UsageError, match="Write chart: MARK"):
        read_chart(line, "made-up")


def test_times_are_named_as_they_are_measured() -> None:
    row = dict.fromkeys(COLUMNS) | {
        "exchange_id": "0190-abcdefgh",
        "started_at": datetime(2026, 11, 21, 10, tzinfo=UTC),
        "model": "m",
        "outcome": "complete",
        "choices": [{"finish_reason": "stop"}],
        "request_sent_us": 1_000,
        "response_headers_us": 50_000,
        "first_token_us": 60_000,
        "last_token_us": 90_000,
        "ended_us": 91_500,
        "event_offsets_us": list(range(60_000, 90_001, 10_000)),
        "connect_us": 700,
    }
    shown = waterfall(row)
    assert [(stage["stage"], stage["from"], stage["to"]) for stage in shown["stages"]] == [
        ("connecting", 0, 0.7),
        ("request sent", 0, 1),
        ("waiting for headers", 1, 50),
        ("waiting for the first token", 50, 60),
        ("tokens", 60, 90),
        ("until the end", 90, 91.5),
    ]
    assert shown["events"] == [60, 70, 80, 90]
    assert shown["label"] == "2026-11-21 10:00:00 · m · 0.09 s · stop · abcdefgh"
    cut = waterfall(row | {"first_token_us": None, "last_token_us": None, "outcome": "upstream_aborted"})
    assert [stage["stage"] for stage in cut["stages"]][-2:] == ["waiting for headers", "until the end"]
    long = waterfall(row | {"event_offsets_us": list(range(5000))})
    assert (len(long["events"]), long["event_count"], long["every"]) == (385, 5000, 13)


def test_nothing_that_strangers_wrote_is_more_than_text() -> None:
    hostile = Table(
        "made-up",
        HOSTILE,
        [HOSTILE, "calls"],
        [(HOSTILE, 1)],
        {"model": HOSTILE},
        help=HOSTILE,
        charts=("bar x=calls y=calls",),
    )
    text = page(
        HOSTILE,
        [hostile],
        [{"label": HOSTILE, "id": HOSTILE, "stages": [], "events": [], "event_count": 0, "every": 0}],
    )
    before, _, behind = text.partition('<script type="application/json"')
    data, _, _ = behind.partition("</script>")
    assert "alert(1)" in before
    assert "<img" not in before + data
    assert text.count("<script") == 3
    assert not set("\x1b\u202e") & set(before)
    assert json.loads(data.partition(">")[2])["calls"][0]["id"] == HOSTILE


def test_the_policy_lets_the_pages_own_scripts_act_and_nothing_else() -> None:
    text = page("Made up.", [table((1,), columns="calls")])
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.replace("&#39;", "'").split(";"))
    assert rules["default-src"] == "'none'"
    assert len(rules["script-src"].split()) == 2
    assert "unsafe" not in policy


def test_figures_stand_as_people_read_them_and_as_they_are() -> None:
    text = page("Made up.", [table((1234567, 0.25, None), columns="calls cut_share tokens")])
    assert '<td class="figure" data-value="1234567">1,234,567</td>' in text
    assert '<td class="figure" data-value="0.25">25.0 %</td>' in text
    assert "<td>–</td>" in text


def test_a_long_table_says_what_is_left_out() -> None:
    text = page("Made up.", [table(*((number,) for number in range(1500)), columns="calls")])
    assert "500 more rows are left out here" in text


def test_a_chart_takes_any_kind_of_value() -> None:
    odd = [timedelta(seconds=90), UUID(int=1), time(10, 30), b"ab", [1], None]
    shown = drawn("bar x=calls y=what", *((value, 1) for value in odd), columns="what calls")
    assert json.dumps(values(shown))
    assert [row["what"] for row in values(shown)][:3] == ["0:01:30", str(UUID(int=1)), "10:30:00"]
    figures = drawn("bar x=a,b y=name", ("n", float("nan"), 1.5), ("i", float("inf"), 2.5), columns="name a b")
    assert [(row["measure"], row["amount"]) for row in values(figures)] == [("b", 1.5), ("b", 2.5)]
