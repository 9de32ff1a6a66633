"""Tokens, cost and time of both sides: every statistic, with an interval for its difference.

The interval is a paired bootstrap: the pairs are drawn with replacement many times, and the middle 95 % of the
differences are the interval. The draws are seeded, so the same pairs always have the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .result import Estimate

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Figure:
    """A figure: its column, its title with the unit, and the statistic that a rule uses if it names none."""

    column: str
    title: str
    usual: str


#: Figures by their names in rules.
FIGURES = {
    "prompt_tokens": Figure("prompt_tokens", "prompt tokens", "sum"),
    "completion_tokens": Figure("completion_tokens", "completion tokens", "sum"),
    "tokens": Figure("total_tokens", "total tokens", "sum"),
    "cost": Figure("cost_usd", "cost (USD)", "sum"),
    "ttft": Figure("ttft_ms", "time to first token (ms)", "p50"),
    "total": Figure("total_ms", "total time (ms)", "p50"),
}
# With fewer pairs the draws repeat one another. One pair in twenty lies beyond the 95th percentile: of 60 pairs, at
# least one does with 95 % certainty.
_FEWEST_PAIRS = 20
_FEWEST_PAIRS_OF_P95 = 60
#: Statistics, and the fewest pairs from which each can be estimated.
STATISTICS = {"p50": _FEWEST_PAIRS, "p95": _FEWEST_PAIRS_OF_P95, "mean": _FEWEST_PAIRS, "sum": _FEWEST_PAIRS}
CONFIDENCE = 0.95
_DRAWS = 999
_SEED = 20_260_101
# With more pairs, the draws come from a sample of this size, and the interval is narrowed by the square root of the
# sample's share. It is then as wide as that of all pairs, in a hundredth of the time.
_MOST_DRAWN = 2_000


def estimate(columns: Mapping[str, tuple[Numbers, Numbers]]) -> list[Estimate]:
    """Estimate every statistic of every figure. A pair with an unknown number (NaN) does not count for a figure."""
    estimates: list[Estimate] = []
    for name in FIGURES:
        base, candidate = columns[name]
        estimates += _estimate(name, base, candidate)
    return estimates


def _estimate(name: str, base: Numbers, candidate: Numbers) -> list[Estimate]:
    import numpy as np

    is_known = ~(np.isnan(base) | np.isnan(candidate))
    base, candidate = base[is_known], candidate[is_known]
    if not len(base):
        return []
    return [
        Estimate(
            name,
            statistic,
            len(base),
            float(_statistic(statistic)(base)),
            float(_statistic(statistic)(candidate)),
            *(_interval(statistic, base, candidate) if len(base) >= fewest else (None, None)),
        )
        for statistic, fewest in STATISTICS.items()
    ]


def _interval(statistic: str, base: Numbers, candidate: Numbers) -> tuple[float, float]:
    """Return the ends of the interval for the difference between candidate and base."""
    import numpy as np

    of = _statistic(statistic)

    def gap(base: Numbers, candidate: Numbers, axis: int = -1) -> Any:
        return of(candidate, axis=axis) - of(base, axis=axis)

    drawn_base, drawn_candidate = base, candidate
    if len(base) > _MOST_DRAWN:
        members = np.random.default_rng(_SEED).choice(len(base), _MOST_DRAWN, replace=False)
        drawn_base, drawn_candidate = base[members], candidate[members]
    members = np.random.default_rng(_SEED).integers(0, len(drawn_base), (_DRAWS, len(drawn_base)))
    draws = gap(drawn_base[members], drawn_candidate[members])
    share = len(drawn_base) / len(base)
    scale = math.sqrt(share) / (share if statistic == "sum" else 1)
    deviations = (draws - gap(drawn_base, drawn_candidate)) * scale
    low, high = np.quantile(deviations, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    middle = float(gap(base, candidate))
    return middle + float(low), middle + float(high)


def _statistic(name: str) -> Callable[..., Any]:
    import numpy as np

    statistics: dict[str, Callable[..., Any]] = {
        "p50": lambda numbers, axis=-1: np.quantile(numbers, 0.5, axis=axis),
        "p95": lambda numbers, axis=-1: np.quantile(numbers, 0.95, axis=axis),
        "mean": np.mean,
        "sum": np.sum,
    }
    return statistics[name]
