"""The words that all output formats use for a comparison; each format has its own layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...reports.render import coverage_line
from ...wire.json_text import NOT_JSON, canonical, loads
from ..figures import FIGURES
from ..result import CHANGE_KINDS, MEASURED_KINDS, SIDES, Difference, Estimate, How, Pair, Result, Shown
from ..words import Piece

#: Why an exchange has no partner.
REASONS = {
    "no key": "has no value to pair by",
    "only here": "is missing on the other side",
    "more often here": "occurs more often than on the other side",
}
NO_PAIRS = (
    "Nothing could be paired. Were model or parameters changed on purpose? `--match messages` pairs by messages only."
)
KIND_COLUMNS = ["change", "pairs", "noise", "spelling"]
FIGURE_COLUMNS = ["figure", "statistic", "BASE", "CANDIDATE", "change", "95 % interval", "verdict"]
_MANY_DIGITS = 1_000
_SHORT_ID = 8


@dataclass(frozen=True)
class KindRow:
    """How many pairs have one kind of change, and how many differ in it without being changed."""

    kind: str
    changed: int
    noise: int
    spelling: int


@dataclass(frozen=True)
class ChangedText:
    """A text of one choice, or its tool calls, on both sides."""

    title: str
    base: str
    candidate: str


def headline(result: Result) -> str:
    """Return the result in one sentence."""
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
    """Return the name, the text on the command line and the coverage of both sides."""
    both = (("BASE", result.base), ("CANDIDATE", result.candidate))
    return [(name, side.text, coverage_line(side.coverage)) for name, side in both]


def kind_rows(result: Result) -> list[KindRow]:
    """Return the kinds of change in which some pair differs."""
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
    """Return the same as text, under `KIND_COLUMNS`."""
    return [[title(row.kind), f"{row.changed:,}", f"{row.noise:,}", f"{row.spelling:,}"] for row in kind_rows(result)]


def figure_cells(result: Result) -> list[list[str]]:
    """Return the statistics as text, under `FIGURE_COLUMNS`."""
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
    """Return sentences about the limits of this comparison."""
    sentences = [] if result.pairs else [NO_PAIRS]
    if without_text := result.basis["without_text"]:
        sentences.append(f"Pairs compared without texts, because a recording keeps none: {without_text:,}.")
    if without_choices := result.basis["without_choices"]:
        sentences.append(
            f"Pairs compared by outcome, status and error only, because a side has no choices: {without_choices:,}."
        )
    repeated = result.basis["with_own_spread"]
    if result.changed and not repeated:
        sentences.append(
            "BASE repeats no request, so it is unknown how far its own responses differ: every difference is a change."
        )
    return sentences


def title(name: str) -> str:
    """Return the name of a kind or a figure as words."""
    return name.replace("_", " ")


def difference_words(difference: Difference) -> str:
    """Describe a difference in a few words."""
    where = f" of choice {difference.choice}" if difference.choice else ""
    what = f"{title(difference.kind)}{where}"
    if difference.how in (How.SPACES, How.SPELLING):
        return f"{what}: {'white space differs' if difference.how is How.SPACES else difference.how.value}"
    if difference.kind in MEASURED_KINDS and difference.amount is not None:
        words = f"{what} differs by {difference.amount:.2f}"
        own = f", BASE's own responses by {difference.spread:.2f}" if difference.spread is not None else ""
        words += own
    elif difference.base is not None:
        words = f"{what}: {_value(difference.base)} → {_value(difference.candidate)}"
    else:
        words = f"{what} differ"
    return f"{words} (noise)" if difference.how is How.NOISE else words


def pair_words(pair: Pair) -> str:
    """Describe all differences of a pair."""
    return "; ".join(difference_words(difference) for difference in ordered(pair))


def ordered(pair: Pair) -> list[Difference]:
    """Return the differences of a pair, the most serious first."""
    kinds = list(CHANGE_KINDS)
    return sorted(pair.differences, key=lambda d: (d.how is not How.CHANGED, kinds.index(d.kind), d.choice or 0))


def models(pair: Pair) -> str:
    """Return the model, or both models where they differ."""
    base, candidate = pair.base_model or "–", pair.candidate_model or "–"
    return base if base == candidate else f"{base} → {candidate}"


def short(exchange_id: str) -> str:
    """Return the end of an id; `tapeline show` accepts it."""
    return exchange_id[-_SHORT_ID:]


def changed_texts(shown: Shown) -> Iterator[ChangedText]:
    """Yield the texts and calls that changed in a pair; those with noise or spelling only are left out."""
    changed = {(difference.kind, difference.choice) for difference in shown.pair.changes}
    for texts in shown.texts:
        where = f" of choice {texts.choice}" if texts.choice else ""
        for kind in MEASURED_KINDS:
            if (kind, texts.choice) in changed:
                yield ChangedText(f"{kind}{where}", texts.base[kind], texts.candidate[kind])
        if changed & {("tool_names", texts.choice), ("tool_arguments", texts.choice)}:
            yield ChangedText(f"tool calls{where}", _calls(texts.base["calls"]), _calls(texts.candidate["calls"]))


def marked_words(cut: list[Piece]) -> str:
    """Return a text with words that only BASE has as `[-so-]`, and words that only the candidate has as `{+so+}`."""
    return "".join(
        piece.candidate if piece.is_same else f"{_marked(piece.base, '[-', '-]')}{_marked(piece.candidate, '{+', '+}')}"
        for piece in cut
    )


def _marked(text: str, before: str, after: str) -> str:
    """Put marks around a text, inside the white space at its ends."""
    inner = text.strip()
    if not inner:
        return f"{before}{text}{after}" if text else ""
    start = text.index(inner)
    return f"{text[:start]}{before}{inner}{after}{text[start + len(inner) :]}"


def figure_words(shown: Shown) -> str:
    """Describe the figures of a pair that are known on both sides and differ."""
    changes = [
        f"{FIGURES[name].title} {number(base)} → {number(candidate)}"
        for name, (base, candidate) in shown.figures.items()
        if base is not None and candidate is not None and base != candidate
    ]
    return "; ".join(changes)


def number(amount: float | None) -> str:
    """Format an amount with as many digits as are meaningful."""
    if amount is None:
        return "–"
    if amount == int(amount) or abs(amount) >= _MANY_DIGITS:
        return f"{amount:,.0f}"
    return f"{amount:,.4g}"


def _change(estimate: Estimate) -> str:
    """Format the change of a figure."""
    share = estimate.share(estimate.difference)
    return "–" if share is None else f"{share:+.1%}"


def _interval(estimate: Estimate) -> str:
    """Format the interval of the change."""
    low, high = estimate.share(estimate.low), estimate.share(estimate.high)
    return "–" if low is None or high is None else f"{low:+.1%} to {high:+.1%}"


def unpaired_words(result: Result, side: str) -> str:
    """Count the exchanges of a side that have no partner, by reason."""
    reasons = [unpaired.reason for unpaired in result.unpaired if unpaired.side == side]
    counts = [f"{reasons.count(reason):,} {words}" for reason, words in REASONS.items() if reason in reasons]
    return f"{side.upper()}: {'; '.join(counts)}" if counts else ""


def _value(text: str | None) -> str:
    """Format a value for people: a list of names without quotes."""
    value = loads(text or "")
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return text or "none"


def _calls(calls: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name}({_arguments(arguments)})" for name, arguments in calls)


def _arguments(arguments: str) -> str:
    value = loads(arguments)
    return arguments if value is NOT_JSON else canonical(value)
