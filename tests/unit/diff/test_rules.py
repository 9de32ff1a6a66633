"""The rules of `--fail-on`: which texts are rules, and when each rule fires."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.strategies import examples

from tapeline.pipeline.cli.commands.diff import diff
from tapeline.pipeline.diff.figures import FIGURES, STATISTICS
from tapeline.pipeline.diff.result import Difference, Estimate, How, Judged, Pair, Result, Side, Unpaired
from tapeline.pipeline.diff.rules import CHANGES, FIRED, HELD, NOT_JUDGED, judge_rules, read_rules
from tapeline.pipeline.errors import UsageError

SIDE = Side("run", {})
PERCENT = st.decimals(0, 1000, places=2).map(str)
RULES = st.one_of(
    st.sampled_from(sorted(CHANGES)),
    st.tuples(st.sampled_from([*CHANGES, "unpaired"]), PERCENT).map(lambda parts: f"{parts[0]}>{parts[1]}%"),
    st.tuples(st.sampled_from(["text", "refusal"]), st.sampled_from(["0", "0.25", "1"])).map(">".join),
    st.tuples(st.sampled_from(["", *(f"{name}_" for name in STATISTICS)]), st.sampled_from(list(FIGURES)), PERCENT).map(
        lambda parts: f"{parts[0]}{parts[1]}>{parts[2]}%"
    ),
)


def compared(
    *differences: Difference, pairs: int = 4, unpaired: int = 0, estimates: list[Estimate] | None = None
) -> Result:
    """Return a comparison with these differences in its first pair."""
    numbered = [Pair(number, f"key{number}", 1, "b", "c", "m", "m") for number in range(1, pairs + 1)]
    if numbered:
        numbered[0].differences = list(differences)
    alone = [Unpaired("base", "id", "key", 1, None, "only here")] * unpaired
    basis = {"without_text": 0, "without_choices": 0, "with_own_spread": 0}
    return Result(SIDE, SIDE, "request", numbered, alone, estimates or [], basis)


def judged(rule: str, result: Result) -> Judged:
    (result_of_rule,) = judge_rules(read_rules(rule), result)
    return result_of_rule


def moved(figure: str, statistic: str, base: float, candidate: float, low: float, high: float) -> Estimate:
    return Estimate(figure, statistic, 100, base, candidate, low, high)


CHANGED_TEXT = Difference("text", How.CHANGED, 0, amount=0.3)
OTHER_TOOL = Difference("tool_names", How.CHANGED, 0, "a", "b")
GREW = moved("cost", "sum", 100, 110, 5, 15)

FIRING = {
    "text": compared(CHANGED_TEXT),
    "any": compared(CHANGED_TEXT),
    "text>0.2": compared(CHANGED_TEXT),
    "text>20%": compared(CHANGED_TEXT),
    "refusal>0": compared(Difference("refusal", How.CHANGED, 0, amount=0.1)),
    "tool_calls": compared(OTHER_TOOL),
    "tool_names": compared(OTHER_TOOL),
    "outcome": compared(Difference("outcome", How.CHANGED, None, "complete", "truncated")),
    "finish_reason": compared(Difference("finish_reason", How.CHANGED, 0, "stop", "length")),
    "unpaired": compared(unpaired=1),
    "unpaired>10%": compared(pairs=4, unpaired=1),
    "cost>5%": compared(estimates=[GREW]),
    "sum_cost>9.9%": compared(estimates=[GREW]),
    "p95_ttft>20%": compared(estimates=[moved("ttft", "p95", 100, 121, 1, 50)]),
    "ttft>20%": compared(estimates=[moved("ttft", "p50", 100, 121, 1, 50)]),
    "tokens>1000%": compared(estimates=[moved("tokens", "sum", 0, 5, 1, 9)]),
}
HOLDING = {
    "text": compared(Difference("text", How.NOISE, 0, amount=0.3)),
    "any": compared(Difference("text", How.SPACES, 0), Difference("text", How.SPELLING, 0)),
    "text>0.3": compared(CHANGED_TEXT),
    "text>0.2": compared(Difference("text", How.NOISE, 0, amount=0.9)),
    "text>25%": compared(CHANGED_TEXT),
    "refusal>0": compared(CHANGED_TEXT),
    "tool_calls": compared(Difference("tool_names", How.NOISE, 0, "a", "b")),
    "tool_arguments": compared(OTHER_TOOL),
    "outcome": compared(CHANGED_TEXT),
    "finish_reason": compared(Difference("finish_reason", How.NOISE, 0, "stop", "length")),
    "unpaired": compared(),
    "unpaired>20%": compared(pairs=4, unpaired=1),
    "cost>10%": compared(estimates=[GREW]),
    "p95_ttft>20%": compared(estimates=[moved("ttft", "p95", 100, 150, -1, 90)]),
    "ttft>20%": compared(estimates=[moved("ttft", "p95", 100, 150, 10, 90), moved("ttft", "p50", 100, 100, 0, 0)]),
    "tokens>5%": compared(estimates=[moved("tokens", "sum", 100, 50, -60, -40)]),
}
BAD = [
    "",
    "text,",
    "texts",
    "text>",
    "text>2",
    "text>0.2>0.3",
    "outcome>0.2",
    "outcome>x%",
    "outcome<5%",
    "cost",
    "cost>5",
    "p99_ttft>5%",
    "p95_text>5%",
    "p95>5%",
    "ttft>-5%",
    "TEXT",
    "unpaired>3",
    "text>1e9%",
    "cost>5%;outcome",
    "text>" + "9" * 40 + "%",
]


@pytest.mark.parametrize("rule", FIRING)
def test_a_rule_fires(rule: str) -> None:
    fired = judged(rule, FIRING[rule])
    assert (fired.rule, fired.state) == (rule, FIRED)
    assert fired.message
    is_about_pairs = not any(name in rule for name in ("unpaired", *FIGURES))
    assert fired.pairs == (frozenset({1}) if is_about_pairs else frozenset())


@pytest.mark.parametrize("rule", HOLDING)
def test_a_rule_holds(rule: str) -> None:
    held = judged(rule, HOLDING[rule])
    assert (held.state, held.pairs) == (HELD, frozenset())


def test_a_figure_without_an_interval_is_not_judged() -> None:
    few = compared(estimates=[Estimate("ttft", "p95", 12, 100, 900)])
    assert judged("p95_ttft>20%", few) == Judged(
        "p95_ttft>20%", NOT_JUDGED, "too few pairs: 12, at least 60 are needed"
    )
    assert judged("cost>5%", few).state == NOT_JUDGED


def test_the_message_of_a_rule_has_its_figures() -> None:
    assert judged("cost>5%", compared(estimates=[GREW])).message == (
        "sum of cost (USD) 100 -> 110, +10.0% (95 % interval +5.0% to +15.0%) over 100 pairs"
    )
    assert judged("text>0.2", compared(CHANGED_TEXT)).message == "1 of 4 pairs differ by more; the furthest by 0.30"
    noise = judged("text", compared(Difference("text", How.NOISE, 0, amount=0.3)))
    assert noise.message == "0 of 4 pairs changed (0.0%), 1 differ within BASE's own spread"


def test_without_a_pair_every_rule_fires() -> None:
    assert {rule.state for rule in judge_rules(read_rules("outcome,cost>5%,unpaired"), compared(pairs=0))} == {FIRED}


@pytest.mark.parametrize("text", BAD)
def test_a_text_that_is_not_a_rule_is_named_with_the_grammar(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a rule\. Write rules between commas"):
        read_rules(text)


def test_the_help_has_every_name_that_a_rule_may_use() -> None:
    text = diff.help or ""
    for name in (*CHANGES, *FIGURES, *STATISTICS, "unpaired"):
        assert re.search(rf"\b{name}\b", text), name


@examples
@given(st.lists(RULES, min_size=1, max_size=4))
def test_blanks_between_and_in_rules_do_not_matter(rules: list[str]) -> None:
    read = read_rules(" , ".join(rule.replace(">", " > ") for rule in rules))
    assert [rule.text for rule in read] == rules


@examples
@given(st.text(st.sampled_from("textcospany_p95>.%,0123456789 é"), max_size=20))
def test_any_text_is_rules_or_a_usage_error(text: str) -> None:
    try:
        rules = read_rules(text)
    except UsageError:
        return
    assert judge_rules(rules, compared(CHANGED_TEXT, estimates=[GREW]))
