"""Compares two responses: texts as words and as JSON, tool calls as JSON; and tells noise from change.

BASE's own responses to one request show its noise: a difference that is no larger counts as noise. Where BASE has only
one response, its noise is unknown, and every difference counts as a change.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from ..wire.json_text import NOT_JSON, canonical, loads
from .result import MEASURED_KINDS, How
from .words import difference, words

# BASE's own responses to one request that are compared with one another: 8 make 28 comparisons.
MOST_OWN = 8


@dataclass(frozen=True)
class Verdict:
    """How two values differ; `amount` lies between 0 and 1."""

    how: How
    amount: float


SPACES = Verdict(How.SPACES, 0.0)
SPELLING = Verdict(How.SPELLING, 0.0)


@dataclass(frozen=True)
class Spread:
    """How far BASE's own responses to one request differ, in texts of one kind, and all calls they have."""

    furthest: float = 0.0
    calls: frozenset[tuple[str, ...]] = frozenset()


def compare_texts(base: str, candidate: str) -> Verdict | None:
    """Compare two texts; None if they are equal."""
    if base == candidate:
        return None
    base_words, candidate_words = words(base), words(candidate)
    if base_words == candidate_words:
        return SPACES
    if _is_same_json(base, candidate):
        return SPELLING
    return Verdict(How.CHANGED, difference(base_words, candidate_words))


def compare_calls(base: str, candidate: str) -> Verdict | None:
    """Compare two lists of calls, each a JSON list of names and arguments, in any order; None if they are equal."""
    if base == candidate:
        return None
    base_calls, candidate_calls = normalized_calls(base), normalized_calls(candidate)
    if base_calls == candidate_calls:
        return SPELLING
    # One call of two that differs is half of them.
    total = len(base_calls) + len(candidate_calls)
    return Verdict(How.CHANGED, difference(base_calls, candidate_calls) if total else 0.0)


def measure_spread(kind: str, own: list[str]) -> Spread:
    """Return the spread of BASE's own texts or calls, which are all different; those after `MOST_OWN` do not count."""
    own = own[:MOST_OWN]
    if kind not in MEASURED_KINDS:
        return Spread(calls=frozenset(tuple(normalized_calls(calls)) for calls in own))
    verdicts = (compare_texts(one, other) for one, other in combinations(own, 2))
    return Spread(furthest=max((verdict.amount for verdict in verdicts if verdict), default=0.0))


def judge(kind: str, verdict: Verdict, candidate: str, spread: Spread | None, *, is_own: bool) -> How:
    """Decide whether a difference is a change or noise; `is_own`: one of BASE's own responses equals the candidate."""
    if verdict.how is not How.CHANGED:
        return verdict.how
    if is_own or (spread is not None and _is_within(kind, verdict, candidate, spread)):
        return How.NOISE
    return How.CHANGED


def normalized_calls(calls: str) -> list[str]:
    """Return calls in a sorted form that is equal for equal calls: arguments that are JSON as canonical JSON."""
    return sorted(f"{name}({_normalized_arguments(arguments)})" for name, arguments in loads(calls))


def _normalized_arguments(arguments: str) -> str:
    value = loads(arguments)
    return " ".join(arguments.split()) if value is NOT_JSON else canonical(value)


def _is_same_json(base: str, candidate: str) -> bool:
    base_value = loads(base)
    if base_value is NOT_JSON:
        return False
    candidate_value = loads(candidate)
    return candidate_value is not NOT_JSON and canonical(base_value) == canonical(candidate_value)


def _is_within(kind: str, verdict: Verdict, candidate: str, spread: Spread) -> bool:
    if kind in MEASURED_KINDS:
        return verdict.amount <= spread.furthest
    return tuple(normalized_calls(candidate)) in spread.calls
