"""The rules of `--fail-on`: their grammar, and whether a comparison breaks them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UsageError
from .figures import FIGURES, STATISTICS
from .result import CHANGE_KINDS, MEASURED_KINDS, Estimate, How, Judged, Pair, Result

#: Names of changes in rules, and the kinds of change that each stands for.
CHANGES = {
    **{kind: frozenset({kind}) for kind in CHANGE_KINDS},
    "tool_calls": frozenset({"tool_names", "tool_arguments"}),
    "any": frozenset(CHANGE_KINDS),
}
UNPAIRED = "unpaired"
GRAMMAR = (
    f"Write rules between commas, each one of CHANGE, CHANGE>N%, {', '.join(f'{kind}>X' for kind in MEASURED_KINDS)} "
    f"(X from 0 to 1), [{'|'.join(f'{statistic}_' for statistic in STATISTICS)}]FIGURE>N%, {UNPAIRED}, {UNPAIRED}>N%. "
    f"Changes: {', '.join(CHANGES)}. Figures: {', '.join(FIGURES)}."
)

FIRED, HELD, NOT_JUDGED = "fired", "held", "not judged"
_RULE = re.compile(r"(?P<name>[a-z0-9_]+)(?:>(?P<number>\d{1,9}(?:\.\d{1,9})?)(?P<percent>%)?)?")


@dataclass(frozen=True)
class Rule:
    """One rule; `limit` is a share of 1 where the text has a percent sign."""

    text: str
    name: str
    statistic: str | None = None
    limit: float | None = None
    is_share: bool = False


def read_rules(text: str) -> list[Rule]:
    """Read rules between commas. Raises UsageError with the grammar."""
    return [_read_rule(part) for part in "".join(text.split()).split(",")]


def judge_rules(rules: list[Rule], result: Result) -> list[Judged]:
    """Return the state of each rule. Without any pair every rule fires, because nothing shows that it is kept."""
    if not result.pairs:
        return [Judged(rule.text, FIRED, "there is no pair to judge by") for rule in rules]
    return [_judge(rule)(rule, result) for rule in rules]


def _read_rule(part: str) -> Rule:
    match = _RULE.fullmatch(part)
    if not match:
        raise _bad(part)
    name, number, is_share = match["name"], match["number"], bool(match["percent"])
    limit = None if number is None else float(number) / (100 if is_share else 1)
    rule = Rule(part, name, None, limit, is_share)
    if name in FIGURES or name not in (*CHANGES, UNPAIRED):
        rule = _figure_rule(rule)
    if limit is not None and not is_share and not (name in MEASURED_KINDS and limit <= 1):
        raise _bad(part)
    return rule


def _figure_rule(rule: Rule) -> Rule:
    statistic, _, figure = rule.name.partition("_")
    if rule.name in FIGURES:
        statistic, figure = FIGURES[rule.name].usual, rule.name
    if statistic not in STATISTICS or figure not in FIGURES or rule.limit is None:
        raise _bad(rule.text)
    return Rule(rule.text, figure, statistic, rule.limit, rule.is_share)


def _bad(part: str) -> UsageError:
    return UsageError(f"{part!r} is not a rule. {GRAMMAR}")


def _judge(rule: Rule) -> Callable[[Rule, Result], Judged]:
    if rule.statistic is not None:
        return _judge_figure
    if rule.name == UNPAIRED:
        return _judge_unpaired
    return _judge_share if rule.is_share or rule.limit is None else _judge_amount


def _judge_share(rule: Rule, result: Result) -> Judged:
    changed = frozenset(pair.number for pair in result.pairs if _changed(pair, rule.name))
    share = len(changed) / len(result.pairs)
    message = f"{len(changed):,} of {len(result.pairs):,} pairs changed ({share:.1%})"
    noise = sum(not CHANGES[rule.name].isdisjoint(pair.kinds(How.NOISE)) for pair in result.pairs)
    message += f", {noise:,} differ within BASE's own spread" if noise else ""
    return _judged(rule, share > (rule.limit or 0), message, changed)


def _changed(pair: Pair, name: str) -> bool:
    return not CHANGES[name].isdisjoint(pair.changed_kinds())


def _judge_amount(rule: Rule, result: Result) -> Judged:
    amounts = {
        pair.number: max((d.amount or 0 for d in pair.changes if d.kind == rule.name), default=0)
        for pair in result.pairs
    }
    beyond = frozenset(number for number, amount in amounts.items() if amount > (rule.limit or 0))
    message = (
        f"{len(beyond):,} of {len(result.pairs):,} pairs differ by more; the furthest by {max(amounts.values()):.2f}"
    )
    return _judged(rule, bool(beyond), message, beyond)


def _judge_unpaired(rule: Rule, result: Result) -> Judged:
    exchanges = len(result.unpaired) + 2 * len(result.pairs)
    share = len(result.unpaired) / exchanges
    message = f"{len(result.unpaired):,} of {exchanges:,} exchanges have no partner ({share:.1%})"
    return _judged(rule, share > (rule.limit or 0), message)


def _judge_figure(rule: Rule, result: Result) -> Judged:
    estimates = [e for e in result.estimates if e.figure == rule.name and e.statistic == rule.statistic]
    if not estimates:
        return Judged(rule.text, NOT_JUDGED, "no pair has the figure on both sides")
    estimate = estimates[0]
    if estimate.low is None:
        fewest = STATISTICS[estimate.statistic]
        return Judged(rule.text, NOT_JUDGED, f"too few pairs: {estimate.pairs:,}, at least {fewest:,} are needed")
    return _judged(rule, _grew_beyond(estimate, rule.limit or 0), _figure_words(estimate))


def _grew_beyond(estimate: Estimate, limit: float) -> bool:
    grew = estimate.share(estimate.difference)
    return estimate.verdict == "more" and (grew is None or grew > limit)


def _figure_words(estimate: Estimate) -> str:
    shares = [estimate.share(amount) for amount in (estimate.difference, estimate.low, estimate.high)]
    name = f"{estimate.statistic} of {FIGURES[estimate.figure].title}"
    moved = f"{name} {estimate.base:,.4g} -> {estimate.candidate:,.4g}"
    if None in shares:
        return f"{moved} over {estimate.pairs:,} pairs"
    change, low, high = (f"{share:+.1%}" for share in shares if share is not None)
    return f"{moved}, {change} (95 % interval {low} to {high}) over {estimate.pairs:,} pairs"


def _judged(rule: Rule, is_fired: bool, message: str, pairs: frozenset[int] = frozenset()) -> Judged:
    return Judged(rule.text, FIRED if is_fired else HELD, message, pairs if is_fired else frozenset())
