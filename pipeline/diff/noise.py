"""How far BASE's own answers to one question differ from one another: what differs no more than that is noise.

Where BASE was asked once, nothing is known of its noise, and every difference is a change.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from .compare import Verdict, compare_texts, plain_calls
from .result import TEXT_KINDS, How

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
    if kind not in TEXT_KINDS:
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
    if kind in TEXT_KINDS:
        return verdict.amount <= spread.furthest
    return tuple(plain_calls(candidate)) in spread.calls
