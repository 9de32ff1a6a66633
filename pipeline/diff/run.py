"""Runs a whole comparison: sides, pairs, differences, figures, rules, and the pairs that are shown in full."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from ..errors import UsageError
from ..warehouse.query import FILTERS, STORED_PRICES, Filters, Prices, read_time
from .compare import Spread, compare_calls, compare_texts, judge, measure_spread
from .figures import FIGURES, estimate
from .pairing import Pairing
from .result import BASE, CANDIDATE, MEASURED_KINDS, Difference, How, Pair, Result, Shown, Side
from .rules import Rule, judge_rules

if TYPE_CHECKING:
    import polars as pl

# The number that stands for a whole response where a choice has its index.
_WHOLE_RESPONSE = -1

SIDE_GRAMMAR = (
    f"Write RUN or filters between commas ({', '.join(f'{name}=…' for name in FILTERS)}): evals,model=gpt-4o."
)


@dataclass(frozen=True)
class Comparison:
    """The sides to compare, how they are paired, the rules, and how many changed pairs are shown in full."""

    base: str
    candidate: str
    match: str = "request"
    rules: tuple[Rule, ...] = ()
    limit: int = 20


def compare(connection: duckdb.DuckDBPyConnection, wanted: Comparison, prices: Prices = STORED_PRICES) -> Result:
    """Compare two sides. Raises UsageError for a side that selects no exchange."""
    pairing = Pairing(connection, wanted.match)
    base = _add_side(connection, pairing, BASE, wanted.base, prices)
    candidate = _add_side(connection, pairing, CANDIDATE, wanted.candidate, prices)
    pairing.pair()
    pairs = pairing.pairs()
    _add_differences(pairing, {pair.number: pair for pair in pairs})
    figures = pairing.figures()
    result = Result(base, candidate, wanted.match, pairs, pairing.unpaired(), estimate(figures), pairing.basis())
    result.judged = judge_rules(list(wanted.rules), result)
    result.shown = _shown(pairing, result.changed[: wanted.limit], figures)
    return result


def _add_side(connection: duckdb.DuckDBPyConnection, pairing: Pairing, side: str, text: str, prices: Prices) -> Side:
    runs = [run for (run,) in connection.execute("SELECT DISTINCT run FROM stored.exchanges").fetchall()]
    coverage = pairing.add_side(side, read_side(text, runs), prices)
    if not coverage["calls"]:
        raise UsageError(f"No exchange matches {text!r}: `tapeline runs` lists what there is.")
    return Side(text, coverage)


def _add_differences(pairing: Pairing, pairs: Mapping[int, Pair]) -> None:
    for number, choice, kind, base, candidate, is_own in pairing.named_differences():
        how = How.NOISE if is_own else How.CHANGED
        pairs[number].differences.append(Difference(kind, how, _choice(choice), base, candidate))
    for number, difference in _text_differences(pairing):
        if difference.kind == "tool_arguments" and _calls_other_tools(pairs[number], difference.choice):
            continue
        pairs[number].differences.append(difference)


def _text_differences(pairing: Pairing) -> Iterator[tuple[int, Difference]]:
    spreads: dict[tuple[str, int, str], Spread] = {
        (key, choice, kind): measure_spread(kind, texts) for key, choice, kind, texts in pairing.own_texts()
    }
    for number, key, choice, kind, is_own, base, candidate in pairing.texts_that_differ():
        verdict = (compare_texts if kind in MEASURED_KINDS else compare_calls)(base, candidate)
        if verdict is None:
            continue
        spread = spreads.get((key, choice, kind))
        how = judge(kind, verdict, candidate, spread, is_own=is_own)
        furthest = spread.furthest if spread and kind in MEASURED_KINDS else None
        yield number, Difference(kind, how, choice, amount=verdict.amount, spread=furthest)


def _calls_other_tools(pair: Pair, choice: int | None) -> bool:
    return any(difference.kind == "tool_names" and difference.choice == choice for difference in pair.differences)


def _shown(pairing: Pairing, pairs: list[Pair], figures: pl.DataFrame) -> list[Shown]:
    numbers = [pair.number for pair in pairs]
    prompts, texts = pairing.prompts(numbers), pairing.texts(numbers)
    return [
        Shown(pair, prompts.get(pair.number), texts[pair.number], _figures_of(pair.number, figures)) for pair in pairs
    ]


def _figures_of(number: int, figures: pl.DataFrame) -> dict[str, tuple[float | None, float | None]]:
    row = figures.row(number - 1, named=True)
    return {name: (row[f"base_{figure.column}"], row[f"candidate_{figure.column}"]) for name, figure in FIGURES.items()}


def _choice(choice: int) -> int | None:
    return None if choice == _WHOLE_RESPONSE else choice


def read_side(text: str, runs: Collection[str] = ()) -> Filters:
    """Return the filters that a side stands for. A text that is exactly the name of a run means that run."""
    if text in runs:
        return Filters(run=text)
    chosen: dict[str, Any] = {}
    for part in text.split(","):
        name, is_filter, value = part.partition("=")
        name, value = (name.strip(), value.strip()) if is_filter else ("run", part.strip())
        if name not in FILTERS or not value:
            raise UsageError(f"{part.strip()!r} of {text!r} is not a side. {SIDE_GRAMMAR}")
        if name in chosen:
            raise UsageError(f"{text!r} names {name} twice. {SIDE_GRAMMAR}")
        chosen[name] = read_time(f"{name}=", value) if name in ("since", "until") else value
    return Filters(**chosen)
