"""Estimates of figures: when a difference counts as a change, and the interval that goes with it."""

from __future__ import annotations

import random

import polars as pl
import pytest

from tapeline.pipeline.diff.figures import FIGURES, estimate
from tapeline.pipeline.diff.result import SIDES, Estimate

pytestmark = pytest.mark.slow


def of_ttft(base: list[float | None], candidate: list[float | None]) -> dict[str, Estimate]:
    """Return the estimates of one figure, by statistic."""
    unknown = pl.Series([None] * len(base), dtype=pl.Float64)
    columns = {f"{side}_{figure.column}": unknown for side in SIDES for figure in FIGURES.values()}
    numbers = pl.DataFrame(columns | {"base_ttft_ms": base, "candidate_ttft_ms": candidate})
    return {result.statistic: result for result in estimate(numbers)}


def times(count: int, seed: int = 1, factor: float = 1.0) -> list[float | None]:
    chance = random.Random(seed)
    return [chance.lognormvariate(5, 0.5) * factor for _ in range(count)]


@pytest.mark.parametrize("count", [100, 5_000])
def test_a_difference_that_chance_explains_is_not_a_change(count: int) -> None:
    by_chance = of_ttft(times(count, 1), times(count, 2))
    assert {result.verdict for result in by_chance.values()} == {"within noise"}
    slower = of_ttft(times(count, 1), times(count, 2, factor=1.5))
    assert {result.verdict for result in slower.values()} == {"more"}
    quicker = of_ttft(times(count, 1), times(count, 2, factor=0.5))
    assert {result.verdict for result in quicker.values()} == {"less"}


@pytest.mark.parametrize("count", [100, 5_000])
def test_the_interval_contains_the_difference_and_is_always_the_same(count: int) -> None:
    base, candidate = times(count, 1), times(count, 2, factor=1.1)
    first, second = of_ttft(base, candidate), of_ttft(base, candidate)
    assert first == second
    for result in first.values():
        assert result.low is not None
        assert result.high is not None
        assert result.low < result.difference < result.high
    assert first["sum"].difference == pytest.approx(first["mean"].difference * count)
    assert first["sum"].high == pytest.approx((first["mean"].high or 0) * count)


def test_more_pairs_make_a_narrower_interval() -> None:
    def width(count: int) -> float:
        result = of_ttft(times(count, 1), times(count, 2))["mean"]
        assert result.low is not None
        assert result.high is not None
        return result.high - result.low

    assert width(20_000) < width(2_000) / 2 < width(200) / 4


def test_too_few_pairs_get_no_interval() -> None:
    verdicts = {name: result.verdict for name, result in of_ttft(times(19), times(19, 2)).items()}
    assert set(verdicts.values()) == {"too few pairs"}
    verdicts = {name: result.verdict for name, result in of_ttft(times(59), times(59, 2, factor=9)).items()}
    assert verdicts == {"p50": "more", "p95": "too few pairs", "mean": "more", "sum": "more"}


def test_a_pair_without_a_number_on_one_side_does_not_count() -> None:
    result = of_ttft([1.0, None, 3.0], [2.0, 5.0, None])["sum"]
    assert (result.pairs, result.base, result.candidate) == (1, 1.0, 2.0)
    assert of_ttft([None], [1.0]) == {}
