"""The values that a comparison makes: what differs in which pair, what has no partner, and what the figures say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

BASE, CANDIDATE = "base", "candidate"
SIDES = (BASE, CANDIDATE)
#: What is compared, the gravest first, and what each word says.
CHANGE_KINDS = {
    "outcome": "how the exchange ended",
    "status": "the HTTP status",
    "error": "type and code of the provider's error",
    "choices": "how many choices the answer has",
    "finish_reason": "why a choice ended",
    "tool_names": "which tools were called",
    "tool_arguments": "with which arguments the same tools were called, as JSON",
    "refusal": "what was refused",
    "text": "the text of a choice",
    "reasoning": "whether there is any reasoning",
}
#: Kinds whose values are texts: how far two differ is a number between 0 and 1.
MEASURED_KINDS = ("text", "refusal")


class How(StrEnum):
    """What a difference amounts to."""

    CHANGED = "changed"
    #: BASE's own answers to the same question differ as much.
    NOISE = "noise"
    #: White space alone differs.
    SPACES = "white space"
    #: The same JSON value, spelled another way.
    SPELLING = "same JSON"


@dataclass(frozen=True)
class Difference:
    """One kind of difference of a pair; of texts `amount` is how far they differ, `spread` how far BASE's own do."""

    kind: str
    how: How
    choice: int | None = None
    base: str | None = None
    candidate: str | None = None
    amount: float | None = None
    spread: float | None = None


@dataclass
class Pair:
    """An exchange of BASE and its partner."""

    number: int
    key: str
    occurrence: int
    base_id: str
    candidate_id: str
    base_model: str | None
    candidate_model: str | None
    differences: list[Difference] = field(default_factory=list)

    @property
    def changes(self) -> list[Difference]:
        """Differences that are no noise and no spelling."""
        return [difference for difference in self.differences if difference.how is How.CHANGED]

    def changed_kinds(self) -> set[str]:
        return {difference.kind for difference in self.changes}

    def kinds(self, how: How) -> set[str]:
        return {difference.kind for difference in self.differences if difference.how is how}


@dataclass(frozen=True)
class Unpaired:
    """An exchange without a partner, and why."""

    side: str
    exchange_id: str
    key: str | None
    occurrence: int
    model: str | None
    reason: str


@dataclass(frozen=True)
class Texts:
    """What both sides said in one choice; calls are lists of name and arguments."""

    choice: int
    base: dict[str, Any]
    candidate: dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """A changed pair as it is shown: what was asked, and what both answered."""

    pair: Pair
    question: str | None
    texts: list[Texts]
    figures: dict[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Estimate:
    """A statistic of a figure over all pairs that have it on both sides; ends of the interval are of the difference."""

    figure: str
    statistic: str
    pairs: int
    base: float
    candidate: float
    low: float | None = None
    high: float | None = None

    @property
    def difference(self) -> float:
        return self.candidate - self.base

    @property
    def verdict(self) -> str:
        """same, more, less, within noise, or too few pairs."""
        if self.low is None or self.high is None:
            return "too few pairs"
        if self.low == self.high == 0:
            return "same"
        return "more" if self.low > 0 else "less" if self.high < 0 else "within noise"

    def share(self, amount: float | None) -> float | None:
        """An amount as a part of BASE's figure; None where that is nothing."""
        return amount / self.base if amount is not None and self.base else None


@dataclass(frozen=True)
class Judged:
    """What became of a rule: fired, held or not judged; `pairs` are those that made it fire."""

    rule: str
    state: str
    says: str
    pairs: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Side:
    """One side: as it was typed, and what its figures rest on."""

    text: str
    coverage: dict[str, Any]


@dataclass
class Result:
    """A comparison, whole."""

    base: Side
    candidate: Side
    match: str
    pairs: list[Pair]
    unpaired: list[Unpaired]
    estimates: list[Estimate]
    basis: dict[str, int]
    judged: list[Judged] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)

    @cached_property
    def changed(self) -> list[Pair]:
        """Changed pairs, the gravest first."""
        return sorted((pair for pair in self.pairs if pair.changes), key=_gravity)

    @cached_property
    def tally(self) -> Counter[tuple[str, How]]:
        """How many pairs have a difference of a kind that amounts to the same."""
        return Counter(found for pair in self.pairs for found in {(one.kind, one.how) for one in pair.differences})


def _gravity(pair: Pair) -> tuple[int, float, int]:
    kinds = list(CHANGE_KINDS)
    gravest = min(kinds.index(difference.kind) for difference in pair.changes)
    furthest = max((difference.amount or 0.0 for difference in pair.changes), default=0.0)
    return gravest, -furthest, pair.number
