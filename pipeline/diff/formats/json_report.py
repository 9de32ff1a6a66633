"""A comparison for programs: stable names, every pair that differs, and every exchange without a partner."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from ...reports.render import json_text
from ...wire.json_text import JsonObject
from ..figures import CONFIDENCE
from ..result import Difference, Estimate, Pair, Result, Shown, Side
from .wording import kind_rows


def write(result: Result) -> str:
    """Return one object, on one line."""
    shown = {pair.pair.number: pair for pair in result.shown}
    document = {
        "base": _side(result.base),
        "candidate": _side(result.candidate),
        "match": result.match,
        "pairs": len(result.pairs),
        "changed": len(result.changed),
        "basis": result.basis,
        "kinds": [asdict(row) for row in kind_rows(result)],
        "figures": [_estimate(estimate) for estimate in result.estimates],
        "rules": [
            {"rule": judged.rule, "state": judged.state, "says": judged.message, "pairs": sorted(judged.pairs)}
            for judged in result.judged
        ],
        "differing": [_pair(pair, shown.get(pair.number)) for pair in result.pairs if pair.differences],
        "unpaired": [asdict(unpaired) for unpaired in result.unpaired],
    }
    return json_text(document) + "\n"


def _side(side: Side) -> JsonObject:
    coverage = {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in side.coverage.items()
    }
    return {"side": side.text, "coverage": coverage}


def _estimate(estimate: Estimate) -> JsonObject:
    low, high = estimate.low, estimate.high
    return {
        "figure": estimate.figure,
        "statistic": estimate.statistic,
        "pairs": estimate.pairs,
        "base": _rounded(estimate.base),
        "candidate": _rounded(estimate.candidate),
        "difference": _rounded(estimate.difference),
        "interval": None if low is None or high is None else [_rounded(low), _rounded(high)],
        "confidence": CONFIDENCE,
        "verdict": estimate.verdict,
    }


def _pair(pair: Pair, shown: Shown | None) -> JsonObject:
    """Return a pair, with its texts if it is shown in full."""
    document: JsonObject = {
        "pair": pair.number,
        "key": pair.key,
        "occurrence": pair.occurrence,
        "base_id": pair.base_id,
        "candidate_id": pair.candidate_id,
        "base_model": pair.base_model,
        "candidate_model": pair.candidate_model,
        "changed": bool(pair.changes),
        "differences": [_difference(difference) for difference in pair.differences],
    }
    if shown is None:
        return document
    figures = {name: {"base": base, "candidate": candidate} for name, (base, candidate) in shown.figures.items()}
    return {**document, "question": shown.prompt, "figures": figures, "texts": [asdict(text) for text in shown.texts]}


def _difference(difference: Difference) -> JsonObject:
    return {
        "kind": difference.kind,
        "how": difference.how.value,
        "choice": difference.choice,
        "base": difference.base,
        "candidate": difference.candidate,
        "amount": _rounded(difference.amount),
        "spread": _rounded(difference.spread),
    }


def _rounded(amount: float | None) -> float | None:
    """Round to six digits; the digits after them can differ between machines."""
    return None if amount is None else float(f"{amount:.6g}")
