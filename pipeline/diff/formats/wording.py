"""What every form of output says of a comparison, in the same words; how it is laid out is each form's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...reports.render import coverage_line
from ...wire.json_text import NOT_JSON, canonical, loads
from ..figures import FIGURES
from ..result import CHANGE_KINDS, MEASURED_KINDS, SIDES, Difference, Estimate, How, Pair, Result, Shown
from ..words import Piece

#: What an unpaired exchange lacks.
REASONS = {
    "no key": "has nothing to be paired by",
    "only here": "was not asked on the other side",
    "more often here": "was asked more often than on the other side",
}
#: What the other side is asked when nothing was paired.
NO_PAIRS = (
    "Nothing could be paired. Were model or parameters changed on purpose? `--match messages` pairs by messages alone."
)
KIND_COLUMNS = ["change", "pairs", "noise", "spelling"]
FIGURE_COLUMNS = ["figure", "statistic", "BASE", "CANDIDATE", "change", "95 % interval", "verdict"]
_MANY_DIGITS = 1_000
_SHORT_ID = 8


@dataclass(frozen=True)
class KindRow:
    """How many pairs changed in one way, and how many differ without being changed."""

    kind: str
    changed: int
    noise: int
    spelling: int


@dataclass(frozen=True)
class Said:
    """A text of one choice, or its tool calls, as both sides have it."""

    what: str
    base: str
    candidate: str


def headline(result: Result) -> str:
    """The answer in a sentence."""
    pairs, changed = len(result.pairs), len(result.changed)
    noisy = sum(not pair.changes and bool(pair.kinds(How.NOISE)) for pair in result.pairs)
    parts = [f"{changed:,} of {pairs:,} pairs changed" + (f" ({changed / pairs:.1%})" if pairs else "")]
    if noisy:
        parts.append(f"within BASE's own spread {noisy:,}")
    alone = {side: sum(unpaired.side == side for unpaired in result.unpaired) for side in SIDES}
    if result.unpaired:
        parts.append("without a partner " + ", ".join(f"{count:,} of {side.upper()}" for side, count in alone.items()))
    return f"{'; '.join(parts)}."


def sides(result: Result) -> list[tuple[str, str, str]]:
    """BASE and CANDIDATE: the name, what was typed, what its figures rest on."""
    both = (("BASE", result.base), ("CANDIDATE", result.candidate))
    return [(name, side.text, coverage_line(side.coverage)) for name, side in both]


def kind_rows(result: Result) -> list[KindRow]:
    """Kinds that differ somewhere."""
    tally = result.tally
    rows = [
        KindRow(
            kind,
            tally[kind, How.CHANGED],
            tally[kind, How.NOISE],
            tally[kind, How.SPACES] + tally[kind, How.SPELLING],
        )
        for kind in CHANGE_KINDS
    ]
    return [row for row in rows if row.changed or row.noise or row.spelling]


def kind_cells(result: Result) -> list[list[str]]:
    """The same for people, under `KIND_COLUMNS`."""
    return [[title(row.kind), f"{row.changed:,}", f"{row.noise:,}", f"{row.spelling:,}"] for row in kind_rows(result)]


def figure_cells(result: Result) -> list[list[str]]:
    """Statistics for people, under `FIGURE_COLUMNS`."""
    return [
        [
            FIGURES[estimate.figure].title,
            estimate.statistic,
            number(estimate.base),
            number(estimate.candidate),
            _change(estimate),
            _interval(estimate),
            estimate.verdict,
        ]
        for estimate in result.estimates
    ]


def notes(result: Result) -> list[str]:
    """What has to be known to read the rest."""
    told = [] if result.pairs else [NO_PAIRS]
    if kept_out := result.basis["without_text"]:
        told.append(f"Pairs compared without their texts, which a recording was not to keep: {kept_out:,}.")
    if bare := result.basis["without_choices"]:
        told.append(f"Pairs with a side without choices, of which outcome, status and error are compared: {bare:,}.")
    repeated = result.basis["with_own_spread"]
    if result.changed and not repeated:
        told.append(
            "BASE asked nothing twice: how far its own answers differ is not known, and every difference counts."
        )
    return told


def title(name: str) -> str:
    """A kind's or a figure's name for people."""
    return name.replace("_", " ")


def difference_words(difference: Difference) -> str:
    """A difference in a few words."""
    where = f" of choice {difference.choice}" if difference.choice else ""
    what = f"{title(difference.kind)}{where}"
    if difference.how in (How.SPACES, How.SPELLING):
        return f"{what}: {'white space differs' if difference.how is How.SPACES else difference.how.value}"
    if difference.kind in MEASURED_KINDS and difference.amount is not None:
        words = f"{what} differs by {difference.amount:.2f}"
        own = f", BASE's own answers by {difference.spread:.2f}" if difference.spread is not None else ""
        words += own
    elif difference.base is not None:
        words = f"{what}: {_value(difference.base)} → {_value(difference.candidate)}"
    else:
        words = f"{what} differ"
    return f"{words} (noise)" if difference.how is How.NOISE else words


def pair_words(pair: Pair) -> str:
    """All differences of a pair."""
    return "; ".join(difference_words(difference) for difference in ordered(pair))


def ordered(pair: Pair) -> list[Difference]:
    """Differences of a pair, the gravest first."""
    kinds = list(CHANGE_KINDS)
    return sorted(pair.differences, key=lambda d: (d.how is not How.CHANGED, kinds.index(d.kind), d.choice or 0))


def models(pair: Pair) -> str:
    """The model, or both where they differ."""
    base, candidate = pair.base_model or "–", pair.candidate_model or "–"
    return base if base == candidate else f"{base} → {candidate}"


def short(exchange_id: str) -> str:
    """The end of an id, which `tapeline show` takes."""
    return exchange_id[-_SHORT_ID:]


def said(shown: Shown) -> Iterator[Said]:
    """The texts and calls in which a pair differs; noise and spelling are left out."""
    changed = {(difference.kind, difference.choice) for difference in shown.pair.changes}
    for texts in shown.texts:
        where = f" of choice {texts.choice}" if texts.choice else ""
        for kind in MEASURED_KINDS:
            if (kind, texts.choice) in changed:
                yield Said(f"{kind}{where}", texts.base[kind], texts.candidate[kind])
        if changed & {("tool_names", texts.choice), ("tool_arguments", texts.choice)}:
            yield Said(f"tool calls{where}", _calls(texts.base["calls"]), _calls(texts.candidate["calls"]))


def marked_words(cut: list[Piece]) -> str:
    """A text with the words of BASE alone as `[-so-]`, those of the candidate as `{+so+}`."""
    return "".join(
        piece.candidate if piece.is_same else f"{_marked(piece.base, '[-', '-]')}{_marked(piece.candidate, '{+', '+}')}"
        for piece in cut
    )


def _marked(text: str, before: str, after: str) -> str:
    """The text between marks; the white space at its ends stays outside."""
    inner = text.strip()
    if not inner:
        return f"{before}{text}{after}" if text else ""
    start = text.index(inner)
    return f"{text[:start]}{before}{inner}{after}{text[start + len(inner) :]}"


def figure_words(shown: Shown) -> str:
    """What a pair's figures were on both sides, those that are known and differ."""
    told = [
        f"{FIGURES[name].title} {number(base)} → {number(candidate)}"
        for name, (base, candidate) in shown.figures.items()
        if base is not None and candidate is not None and base != candidate
    ]
    return "; ".join(told)


def number(amount: float | None) -> str:
    """An amount with as many digits as tell something."""
    if amount is None:
        return "–"
    if amount == int(amount) or abs(amount) >= _MANY_DIGITS:
        return f"{amount:,.0f}"
    return f"{amount:,.4g}"


def _change(estimate: Estimate) -> str:
    """How a figure moved."""
    moved = estimate.share(estimate.difference)
    return "–" if moved is None else f"{moved:+.1%}"


def _interval(estimate: Estimate) -> str:
    """The interval of how it moved."""
    low, high = estimate.share(estimate.low), estimate.share(estimate.high)
    return "–" if low is None or high is None else f"{low:+.1%} to {high:+.1%}"


def unpaired_words(result: Result, side: str) -> str:
    """How many of a side have no partner, by reason."""
    reasons = [unpaired.reason for unpaired in result.unpaired if unpaired.side == side]
    told = [f"{reasons.count(reason):,} {words}" for reason, words in REASONS.items() if reason in reasons]
    return f"{side.upper()}: {'; '.join(told)}" if told else ""


def _value(text: str | None) -> str:
    """A value as people read it; a list of names without its quotes."""
    value = loads(text or "")
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return text or "none"


def _calls(calls: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name}({_arguments(arguments)})" for name, arguments in calls)


def _arguments(arguments: str) -> str:
    value = loads(arguments)
    return arguments if value is NOT_JSON else canonical(value)
