"""How two answers differ: texts as words and as JSON, calls as JSON; and how much of that is noise.

Values in, verdicts out. BASE's own answers to one request show its noise: a difference no larger is none. Where BASE
has one answer, nothing is known of its noise, and every difference counts as a change.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from ..wire.json_text import NOT_JSON, canonical, loads
from .result import MEASURED_KINDS, How
from .words import difference, words


@dataclass(frozen=True)
class Verdict:
    """How two values differ; `amount` lies between 0 and 1."""

    how: How
    amount: float


SPACES = Verdict(How.SPACES, 0.0)
SPELLING = Verdict(How.SPELLING, 0.0)


def compare_texts(base: str, candidate: str) -> Verdict | None:
    """How two texts differ; None where they do not."""
    if base == candidate:
        return None
    base_words, candidate_words = words(base), words(candidate)
    if base_words == candidate_words:
        return SPACES
    if _is_same_json(base, candidate):
        return SPELLING
    return Verdict(How.CHANGED, difference(base_words, candidate_words))


def compare_calls(base: str, candidate: str) -> Verdict | None:
    """How two lists of calls differ, each a JSON list of name and arguments; their order does not count."""
    if base == candidate:
        return None
    base_calls, candidate_calls = plain_calls(base), plain_calls(candidate)
    if base_calls == candidate_calls:
        return SPELLING
    # One call that differs of two is half of them.
    shared = len(base_calls) + len(candidate_calls)
    return Verdict(How.CHANGED, difference(base_calls, candidate_calls) if shared else 0.0)


def plain_calls(calls: str) -> list[str]:
    """Calls in a form that is the same for the same calls: arguments as canonical JSON where they are JSON."""
    return sorted(f"{name}({_plain_arguments(arguments)})" for name, arguments in loads(calls))


def _plain_arguments(arguments: str) -> str:
    value = loads(arguments)
    return " ".join(arguments.split()) if value is NOT_JSON else canonical(value)


def _is_same_json(base: str, candidate: str) -> bool:
    base_value = loads(base)
    if base_value is NOT_JSON:
        return False
    candidate_value = loads(candidate)
    return candidate_value is not NOT_JSON and canonical(base_value) == canonical(candidate_value)


# So many of BASE's own answers to one question are compared with one another: 28 comparisons.
MOST_OWN = 8


@dataclass(frozen=True)
class Spread:
    """BASE's own answers to a question, of one kind: the furthest that two of them differ, and all their calls."""

    furthest: float = 0.0
    calls: frozenset[tuple[str, ...]] = frozenset()


def measure_spread(kind: str, own: list[str]) -> Spread:
    """The spread of BASE's own texts or calls, each given once; those after `MOST_OWN` do not count."""
    own = own[:MOST_OWN]
    if kind not in MEASURED_KINDS:
        return Spread(calls=frozenset(tuple(plain_calls(calls)) for calls in own))
    verdicts = (compare_texts(one, other) for one, other in combinations(own, 2))
    return Spread(furthest=max((verdict.amount for verdict in verdicts if verdict), default=0.0))


def judge(kind: str, verdict: Verdict, candidate: str, spread: Spread | None, *, is_own: bool) -> How:
    """What a difference amounts to; `is_own`: BASE itself gave the candidate's answer, to the character."""
    if verdict.how is not How.CHANGED:
        return verdict.how
    if is_own or (spread is not None and _is_within(kind, verdict, candidate, spread)):
        return How.NOISE
    return How.CHANGED


def _is_within(kind: str, verdict: Verdict, candidate: str, spread: Spread) -> bool:
    if kind in MEASURED_KINDS:
        return verdict.amount <= spread.furthest
    return tuple(plain_calls(candidate)) in spread.calls
