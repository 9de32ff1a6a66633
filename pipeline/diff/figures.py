"""Tokens, cost and time of both sides: every statistic, with an interval for its difference.

The interval is a paired bootstrap: the pairs are drawn with replacement many times, and the middle 95 % of the
differences are the interval. The draws are seeded, so the same pairs always have the same interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .result import BASE, CANDIDATE, SIDES, Estimate

if TYPE_CHECKING:
    import polars as pl


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


def estimate(numbers: pl.DataFrame) -> list[Estimate]:
    """Estimate every statistic of every figure.

    The frame has one row for each pair, and the columns `base_...` and `candidate_...` for each figure. A pair with an
    unknown number (null) does not count for that figure.
    """
    estimates: list[Estimate] = []
    for name, figure in FIGURES.items():
        pairs = numbers.select(**{side: f"{side}_{figure.column}" for side in SIDES}).drop_nulls()
        if len(pairs):
            estimates += _estimate(name, pairs)
    return estimates


def _estimate(name: str, pairs: pl.DataFrame) -> list[Estimate]:
    values = {side: pairs.select(**_statistics(side)).row(0, named=True) for side in SIDES}
    intervals = _intervals(pairs)
    return [
        Estimate(
            name,
            statistic,
            len(pairs),
            values[BASE][statistic],
            values[CANDIDATE][statistic],
            *(intervals[statistic] if len(pairs) >= fewest else (None, None)),
        )
        for statistic, fewest in STATISTICS.items()
    ]


def _intervals(pairs: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """Return the ends of the interval for the difference between candidate and base, by statistic."""
    import polars as pl

    sample = pairs.sample(min(len(pairs), _MOST_DRAWN), seed=_SEED)
    size = len(sample)
    drawn = sample.sample(size * _DRAWS, with_replacement=True, seed=_SEED)
    draws = drawn.group_by(pl.int_range(size * _DRAWS) // size).agg(**_gaps())
    middles, sample_middles = pairs.select(**_gaps()).row(0, named=True), sample.select(**_gaps()).row(0, named=True)
    share = size / len(pairs)
    intervals = {}
    for statistic, middle in middles.items():
        scale = math.sqrt(share) / (share if statistic == "sum" else 1)
        ends = (draws[statistic].quantile(end, "linear") for end in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
        low, high = (middle + ((end or 0.0) - sample_middles[statistic]) * scale for end in ends)
        intervals[statistic] = (low, high)
    return intervals


def _gaps() -> dict[str, pl.Expr]:
    """Return the difference between candidate and base, by statistic."""
    base, candidate = _statistics(BASE), _statistics(CANDIDATE)
    return {name: candidate[name] - base[name] for name in STATISTICS}


def _statistics(side: str) -> dict[str, pl.Expr]:
    import polars as pl

    numbers = pl.col(side)
    return {
        "p50": numbers.quantile(0.50, "linear"),
        "p95": numbers.quantile(0.95, "linear"),
        "mean": numbers.mean(),
        "sum": numbers.sum(),
    }
