"""The finer look at what differs to the character: texts as words and as JSON, arguments of calls as JSON.

Values in, verdicts out. Whether a difference is more than BASE's own answers have is `noise`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..jsontext import NOT_JSON, canonical, loads
from .result import How
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
