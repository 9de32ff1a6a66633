"""What calls cost: a table of cases worked by hand, from the journal to the view.

The cases stand in `prices/cases.toml`, each with its sum; what comes out is compared with that, not with the code.
"""

from __future__ import annotations

import ast
import operator
import tomllib
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from tests.support.journals.journals import MadeUp, make_journal
from tests.support.places import DATA

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.pricing.stored_costs import bring_up_to_date, own_prices_file
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse import database

FOLDER = DATA / "prices"
CASES: dict[str, dict[str, Any]] = {
    case["name"]: case for case in tomllib.loads((FOLDER / "cases.toml").read_text())["case"]
}
WHEN = datetime(2026, 11, 15, 12, tzinfo=UTC)
PARTS = ("input_cost_usd", "cached_cost_usd", "cache_write_cost_usd", "output_cost_usd", "other_cost_usd")
_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def recorded(case: dict[str, Any]) -> MadeUp:
    """The case as a call; its name is what the user said."""
    answered = {"model": case.get("response_model", case["model"]), "service_tier": case.get("tier")}
    return MadeUp(
        content=case["name"],
        model=case["model"],
        host=case.get("host", "api.openai.com"),
        port=case.get("port", 443),
        started_at_us=int(case.get("at", WHEN).timestamp()) * 1_000_000,
        usage=case.get("usage"),
        answered=answered,
    )


def priced(root: Path, own: bool) -> dict[str, dict[str, Any]]:
    """The rows of all cases, recorded, sealed, loaded and priced, by name."""
    make_journal(root, [recorded(case) for case in CASES.values() if case.get("own", False) == own])
    if own:
        (root / "prices.toml").write_bytes((FOLDER / "own.toml").read_bytes())
        (root / "litellm.json").write_bytes((FOLDER / "litellm.json").read_bytes())
    directory = DataDirectory(root)
    seal(directory)
    database.load(directory)
    bring_up_to_date(directory, own_prices_file(directory))
    with database.querying(directory) as connection:
        result = connection.execute("SELECT m.text AS said, e.* FROM exchanges e JOIN messages m USING (exchange_id)")
        names = [column[0] for column in result.description or []]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    return {row["said"]: row for row in rows}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return priced(tmp_path_factory.mktemp("listed"), own=False) | priced(tmp_path_factory.mktemp("own"), own=True)


@pytest.mark.parametrize("name", CASES)
def test_a_call_costs_what_was_worked_out_by_hand(rows: dict[str, dict[str, Any]], name: str) -> None:
    case, row = CASES[name], rows[name]
    assert row["cost_status"] == case.get("status", "priced"), row["cost_note"]
    cost = Decimal(case["cost"]) if "cost" in case else None
    known = Decimal(case["known"]) if "known" in case else cost
    assert (row["cost_usd"], row["known_cost_usd"]) == (cost, known)
    assert case.get("note", "") in (row["cost_note"] or "")
    if case.get("status", "priced") == "priced" and "note" not in case:
        assert row["cost_note"] is None
    parts = [row[part] for part in PARTS if row[part] is not None]
    assert sum(parts) == (known or 0)
    assert all(isinstance(part, Decimal) for part in parts)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "working" in case])
def test_the_sums_are_right_in_themselves(name: str) -> None:
    case = CASES[name]
    amount = Fraction(case.get("cost") or case["known"])
    assert amount * 1_000_000 == worked_out(ast.parse(case["working"], mode="eval").body)


def test_the_cases_are_many_and_of_every_kind() -> None:
    kinds = Counter(case.get("status", "priced") for case in CASES.values())
    assert sum(kinds.values()) >= 100
    assert set(kinds) == {"priced", "partial", "unpriced", "invalid_usage"}
    assert all(("cost" in case) == (case.get("status", "priced") == "priced") for case in CASES.values())


def test_every_price_says_where_it_is_from(rows: dict[str, dict[str, Any]]) -> None:
    for name, row in rows.items():
        sources = (row["price_source"], row["price_version"], row["price_digest"], row["price_name"])
        if row["cost_status"] in ("priced", "partial"):
            assert all(sources), name
    assert rows["plain"]["price_source"] == "genai-prices"
    assert rows["plain"]["price_name"] == "openai/gpt-4o"
    assert rows["own: flex"]["price_source"] == "prices.toml"
    assert rows["own: flex"]["price_name"] == "prices.toml entry 4"
    assert rows["own: a discount on the list"]["price_name"] == "openai/gpt-4.1, prices.toml entry 7 -15 %"
    assert rows["map: tier flex"]["price_source"] == "LiteLLM's map"
    assert rows["map: tier flex"]["price_name"] == "aiand/qwen3-demo"
    assert rows["router402 adds ten per cent"]["price_name"] == "anthropic/claude-sonnet-4-5, built in +10 %"
    assert rows["tier flex"]["price_digest"] != rows["long after"]["price_digest"]


def worked_out(node: ast.expr) -> Fraction:
    """A sum of products of decimal numbers, exactly."""
    if isinstance(node, ast.BinOp):
        operation = _OPERATIONS[type(node.op)]
        return Fraction(operation(worked_out(node.left), worked_out(node.right)))
    assert isinstance(node, ast.Constant)
    return Fraction(str(node.value))
