"""The values that a comparison makes: pairs with their differences, exchanges without a partner, and figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

BASE, CANDIDATE = "base", "candidate"
SIDES = (BASE, CANDIDATE)
#: The kinds of change, the most serious first, and what each compares.
CHANGE_KINDS = {
    "outcome": "how the exchange ended",
    "status": "the HTTP status",
    "error": "type and code of the provider's error",
    "choices": "how many choices the response has",
    "finish_reason": "why a choice ended",
    "tool_names": "which tools were called",
    "tool_arguments": "with which arguments the same tools were called, as JSON",
    "refusal": "the text of a refusal",
    "text": "the text of a choice",
    "reasoning": "whether there is any reasoning",
}
#: Kinds that compare texts: how far two texts differ is a number between 0 and 1.
MEASURED_KINDS = ("text", "refusal")


class How(StrEnum):
    """Whether a difference is a change."""

    CHANGED = "changed"
    #: BASE's own responses to the same request differ as much.
    NOISE = "noise"
    #: Only white space differs.
    SPACES = "white space"
    #: The same JSON value, written differently.
    SPELLING = "same JSON"


@dataclass(frozen=True)
class Difference:
    """One kind of difference in a pair; for texts, `amount` is how far they differ, `spread` how far BASE's own do."""

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
        """The differences that are neither noise nor spelling."""
        return [difference for difference in self.differences if difference.how is How.CHANGED]

    def changed_kinds(self) -> set[str]:
        return {difference.kind for difference in self.changes}

    def kinds(self, how: How) -> set[str]:
        return {difference.kind for difference in self.differences if difference.how is how}


@dataclass(frozen=True)
class Unpaired:
    """An exchange without a partner, and the reason."""

    side: str
    exchange_id: str
    key: str | None
    occurrence: int
    model: str | None
    reason: str


@dataclass(frozen=True)
class Texts:
    """The texts and calls of both sides in one choice; calls are lists of name and arguments."""

    choice: int
    base: dict[str, Any]
    candidate: dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """A changed pair in full: the prompt, the responses of both sides, and their figures."""

    pair: Pair
    #: The last message of the user.
    prompt: str | None
    texts: list[Texts]
    figures: dict[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Estimate:
    """A statistic of a figure over all pairs that have it on both sides; `low` and `high` bound its difference."""

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
        """Return same, more, less, within noise, or too few pairs."""
        if self.low is None or self.high is None:
            return "too few pairs"
        if self.low == self.high == 0:
            return "same"
        return "more" if self.low > 0 else "less" if self.high < 0 else "within noise"

    def share(self, amount: float | None) -> float | None:
        """Return an amount as a share of BASE's figure; None where that is 0."""
        return amount / self.base if amount is not None and self.base else None


@dataclass(frozen=True)
class Judged:
    """The state of a rule: fired, held or not judged; `pairs` are those that made it fire."""

    rule: str
    state: str
    message: str
    pairs: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Side:
    """One side: its text on the command line, and the coverage of its figures."""

    text: str
    coverage: dict[str, Any]


@dataclass
class Result:
    """The whole comparison."""

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
        """The changed pairs, the most serious first."""
        return sorted((pair for pair in self.pairs if pair.changes), key=_seriousness)

    @cached_property
    def tally(self) -> Counter[tuple[str, How]]:
        """How many pairs have a difference of each kind and `How`."""
        return Counter(key for pair in self.pairs for key in {(found.kind, found.how) for found in pair.differences})


def _seriousness(pair: Pair) -> tuple[int, float, int]:
    kinds = list(CHANGE_KINDS)
    most_serious = min(kinds.index(difference.kind) for difference in pair.changes)
    furthest = max((difference.amount or 0.0 for difference in pair.changes), default=0.0)
    return most_serious, -furthest, pair.number
