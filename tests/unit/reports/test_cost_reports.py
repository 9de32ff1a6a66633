"""Reports on money: their figures are worked out apart, from the unit prices and the calls that the test records."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from tests.support.journals.costs import CALLS, LONG, PRICED, document, money, rows
from tests.support.journals.journals import DAY_US, NOON_US, MadeUp, make_journal
from tests.support.processes.recorder import tapeline_here

from tapeline.pipeline.dataset.schema import COSTS
from tapeline.pipeline.reports.definition import GROUPS, all_reports
from tapeline.pipeline.reports.render import cell

pytestmark = pytest.mark.slow


@pytest.fixture
def recorded(data: Path) -> Path:
    make_journal(data, [MadeUp(content=name, **call) for name, (call, _) in CALLS.items()])
    return data


def test_cost_by_day_and_model(recorded: Path) -> None:
    found = rows(recorded, "cost")
    assert [(row["day"], row["model"], row["calls"], row["priced"], row["cost_usd"]) for row in found] == [
        ("2026-11-21", "gpt-4o", 3, 2, money("cached", "no model")),
        ("2026-11-21", "gpt-4o-mini", 2, 1, money("small")),
        ("2026-11-21", "nobody-knows", 1, 0, None),
        ("2026-11-22", "gpt-4o", 1, 1, money("next day")),
        ("2026-11-22", "gpt-4o-mini", 1, 1, money("failed with usage")),
    ]
    first = found[0]
    assert first["input_usd"] == (Decimal(600 + 3) * Decimal("2.5")) / 1_000_000
    assert first["cached_usd"] == Decimal(400) * Decimal("1.25") / 1_000_000
    assert first["output_usd"] == Decimal(500 + 1) * 10 / 1_000_000
    assert (first["cache_write_usd"], first["other_usd"], first["reported_usd"]) == (0, 0, Decimal("0.007"))


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (
            "user",
            {"ann": money("cached", "small"), "bob": money("next day"), None: money("failed with usage", "no model")},
        ),
        ("provider", {"openai": money(*PRICED), "localhost:8000": None}),
        ("host", {"api.openai.com": money(*PRICED), "localhost": None}),
        ("run", {"run-1": money(*PRICED)}),
        (
            "day",
            {"2026-11-21": money("cached", "small", "no model"), "2026-11-22": money("next day", "failed with usage")},
        ),
        (
            "outcome",
            {
                "complete": money("cached", "small", "next day", "no model"),
                "stream_error": money("failed with usage"),
                "http_error": None,
            },
        ),
        ("key", {None: money(*PRICED)}),
        ("tier", {None: money(*PRICED)}),
    ],
)
def test_cost_by_anything(recorded: Path, by: str, expected: dict[str | None, Decimal | None]) -> None:
    found = rows(recorded, "cost", "--by", by)
    assert {row[by]: row["cost_usd"] for row in found} == expected
    assert len(found) == len(expected)
    if by != "day":
        costs = [row["cost_usd"] for row in found if row["cost_usd"] is not None]
        assert costs == sorted(costs, reverse=True)


def test_cost_by_tools_names_them_and_by_conversation_its_first_call(recorded: Path) -> None:
    by_tools = {row["tools"]: row["cost_usd"] for row in rows(recorded, "cost", "--by", "tools")}
    (named,) = [name for name in by_tools if name is not None]
    assert named.startswith("look, find (")
    assert by_tools[named] == money("cached")
    conversations = rows(recorded, "cost", "--by", "conversation")
    assert len(conversations) == len(CALLS)
    shown = tapeline_here("show", conversations[0]["conversation"], "--data", recorded).stdout
    assert "cost      0.007600 USD (priced; openai/gpt-4o, genai-prices " in shown
    assert "reported  0.008000 USD (usage.cost)" in shown


def test_a_model_named_by_a_stranger_forges_no_line(data: Path) -> None:
    make_journal(data, [MadeUp(model="m\nreported  9.000000 USD\x1b[31m")])
    (call,) = rows(data, "cost-gaps")
    assert call["calls"] == 1
    exchange_id = json.loads(
        tapeline_here("sql", "SELECT exchange_id FROM exchanges", "--data", data, "--format", "json").stdout
    )["rows"][0]["exchange_id"]
    shown = tapeline_here("show", exchange_id, "--data", data).stdout
    assert "no price of m⏎reported" in shown
    assert not [line for line in shown.splitlines() if line.startswith("reported")]


def test_every_group_can_be_named(recorded: Path) -> None:
    for name in GROUPS:
        assert name in rows(recorded, "cost", "--by", name)[0]
    assert list(rows(recorded, "cost", "--by", "provider,user")[0])[:2] == ["provider", "user"]


@pytest.mark.parametrize("name", [report.name for report in all_reports() if report.shows_money])
def test_the_terminal_csv_and_json_say_the_same(recorded: Path, name: str) -> None:
    options = [name, "--model", "openai/gpt-4o-mini"] if name == "what-if" else [name]
    found = document(recorded, *options)
    assert found["rows"]
    table = tapeline_here("report", *options, "--data", recorded).stdout
    printed = list(
        csv.DictReader(StringIO(tapeline_here("report", *options, "--data", recorded, "--format", "csv").stdout))
    )
    for row, line in zip(found["rows"], printed, strict=True):
        for column, value in row.items():
            if isinstance(value, Decimal) and column.endswith("_usd"):
                assert cell(column, value) in table
                assert Decimal(line[column]) == value
                assert "E" not in line[column]
    assert "cost covers 5 (62 %), 3 (38 %) unpriced, 1 of them without usage, prices of genai-prices" in " ".join(
        table.split()
    )
    assert found["coverage"]["cost"] == {
        "priced": 5,
        "partial": 0,
        "unpriced": 3,
        "invalid_usage": 0,
        "usage_absent": 1,
        "with_note": 0,
        "partial_usd": None,
        "prices": found["coverage"]["cost"]["prices"],
    }


def test_sql_sees_costs_as_the_reports_do(recorded: Path) -> None:
    result = tapeline_here("sql", "SELECT sum(cost_usd) AS s FROM exchanges", "--data", recorded, "--format", "json")
    assert json.loads(result.stdout, parse_float=Decimal)["rows"] == [{"s": money(*PRICED)}]
    described = tapeline_here("sql", "DESCRIBE exchanges", "--data", recorded, "--format", "json").stdout
    columns = {row["column_name"]: row["column_type"] for row in json.loads(described)["rows"]}
    assert {column.name for column in COSTS} < set(columns)
    assert {columns[column.name][:8] for column in COSTS if column.kind == "money"} == {"DECIMAL("}


def test_the_top_is_ordered_and_names_the_prices(recorded: Path) -> None:
    found = rows(recorded, "cost-top")
    assert [row["cost_usd"] for row in found] == sorted(PRICED.values(), reverse=True)
    assert found[0]["price"] == "openai/gpt-4o"


def test_what_failed_cost_something(recorded: Path) -> None:
    found = {row["outcome"]: row for row in rows(recorded, "cost-failed")}
    assert set(found) == {"stream_error", "http_error"}
    assert found["stream_error"]["cost_usd"] == money("failed with usage")
    assert found["stream_error"]["share"] == pytest.approx(
        money("failed with usage") / money("small", "failed with usage")
    )
    assert (found["http_error"]["without_usage"], found["http_error"]["cost_usd"]) == (1, None)


def test_gaps_say_why(recorded: Path) -> None:
    reasons = {row["reason"]: row["calls"] for row in rows(recorded, "cost-gaps")}
    assert reasons == {
        "no price of nobody-knows at openai is known": 1,
        "no prices of localhost:8000 are known": 1,
        "usage not reported": 1,
    }


def test_the_check_sets_both_figures_side_by_side(recorded: Path) -> None:
    (row,) = rows(recorded, "cost-check")
    assert (row["source"], row["calls"], row["compared"], row["apart"]) == ("usage.cost", 2, 2, 1)
    assert row["reported_usd"] == Decimal("0.015")
    assert row["cost_usd"] == money("cached", "next day")
    assert row["difference_usd"] == money("cached", "next day") - Decimal("0.015")
    assert row["largest_difference_usd"] == Decimal("0.0004")


def test_billed_tokens_count_at_our_prices(data: Path) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    billed = {"prompt_tokens": 1000, "completion_tokens": 150}
    make_journal(
        data,
        [
            MadeUp(model="gpt-4o", usage=usage, answered={"extra_fields": {"billed_usage": billed}}),
            MadeUp(model="gpt-4o", usage=usage, answered={"extra_fields": {"billed_usage": usage}}),
            MadeUp(model="gpt-4o", usage=usage, answered={"extra_fields": {"billed_usage": None}}),
        ],
    )
    (row,) = rows(data, "cost-check")
    assert (row["source"], row["calls"], row["compared"], row["apart"]) == ("extra_fields.billed_usage", 2, 2, 1)
    assert (row["cost_usd"], row["reported_usd"]) == (Decimal("0.007"), Decimal("0.0075"))
    assert row["difference_usd"] == Decimal("-0.0005")


def test_a_header_of_a_proxy_is_checked_too(data: Path) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    header = ["x-litellm-response-cost", "0.0035"]
    make_journal(data, [MadeUp(model="gpt-4o", usage=usage, headers=[header])])
    (row,) = rows(data, "cost-check")
    assert (row["source"], row["compared"], row["difference_usd"]) == ("x-litellm-response-cost", 1, 0)


def test_what_another_model_would_have_cost(recorded: Path) -> None:
    found = {row["model"]: row for row in rows(recorded, "what-if", "--model", "openai/gpt-4o-mini")}
    per_million = {
        "gpt-4o": (600 + 3 + 3000) * Decimal("0.15") + 400 * Decimal("0.075") + (500 + 1 + 10) * Decimal("0.6"),
        "nobody-knows": 5 * Decimal("0.15") + 5 * Decimal("0.6"),
        "gpt-4o-mini": (2000 + 100 + 1000) * Decimal("0.15") + 110 * Decimal("0.6"),
    }
    assert {model: row["what_if_usd"] for model, row in found.items()} == {
        model: amount / 1_000_000 for model, amount in per_million.items()
    }
    assert found["gpt-4o"]["difference_usd"] == per_million["gpt-4o"] / 1_000_000 - money(
        "cached", "no model", "next day"
    )
    assert found["nobody-knows"]["difference_usd"] is None
    # A model without a price of cached tokens has no cache: they cost as any.
    turbo = {row["model"]: row["what_if_usd"] for row in rows(recorded, "what-if", "--model", "gpt-4-turbo")}
    assert turbo["gpt-4o"] == Decimal(4003 * 10 + 511 * 30) / 1_000_000


def test_caches_saved_and_could_have_saved(data: Path) -> None:
    start = [{"role": "user", "content": LONG}]
    more = [*start, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Go on"}]
    asked = len(LONG) + len("Hi.") + len("Go on")
    first = MadeUp(model="gpt-4o", messages=start, usage={"prompt_tokens": 150, "completion_tokens": 2})
    usage = {"prompt_tokens": 160, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 64}}
    make_journal(data, [first, MadeUp(model="gpt-4o", messages=more, started_at_us=NOON_US + 10_000_000, usage=usage)])
    (row,) = rows(data, "cost-savings")
    repeated = 160 * len(LONG) // asked - 64
    assert row["saved_usd"] == 64 * Decimal("1.25") / 1_000_000
    assert row["estimated_repeated_tokens"] == repeated > 0
    assert row["estimated_could_save_usd"] == repeated * Decimal("1.25") / 1_000_000


def test_another_model_costs_what_its_standard_entries_say_on_their_days(data: Path) -> None:
    million = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    make_journal(data, [MadeUp(usage=million, started_at_us=NOON_US + day * DAY_US) for day in (0, 1)])
    own = "input = {}\noutput = 9\n"
    entries = (
        f'[[price]]\nhost = "localhost"\nmodel = "*"\n{own.format(0)}',
        f'[[price]]\nmodel = "gpt-4o"\ntier = "batch"\n{own.format(1)}',
        f'[[price]]\nmodel = "gpt-4o"\nuntil = 2026-11-22\n{own.format(7)}',
        f'[[price]]\nmodel = "new"\nfrom = 2026-11-22\n{own.format(5)}',
    )
    (data / "prices.toml").write_text("\n".join(entries))

    def what_if(model: str) -> list[Decimal | None]:
        return [row["what_if_usd"] for row in rows(data, "what-if", "--model", model, "--by", "day")]

    assert what_if("gpt-4o") == [7, Decimal("2.5")]
    assert what_if("new") == [None, 5]
    assert what_if("openai/gpt-4o-mini") == [Decimal("0.15"), Decimal("0.15")]
