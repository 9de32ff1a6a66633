"""A comparison as JUnit XML for continuous integration: a test case for each pair and for each rule.

Without rules, every changed pair is a failure. With rules, a pair is a failure if it made a rule fire; the differences
of other pairs are in their output.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ...wire.terminal_text import one_line, visible
from ..result import Pair, Result, Shown, Unpaired
from ..rules import FIRED, NOT_JUDGED
from ..words import bounded, pieces, shortened
from . import wording

_KEY_CHARACTERS = 12
_CONTEXT = 12
_MOST_OF_A_TEXT = 10_000
# XML cannot hold these, not even as character references; `visible` escapes the others that it cannot hold.
_NO_XML = re.compile("[\ufffe\uffff]")


def write(result: Result) -> str:
    """Return two suites: the rules, and the pairs together with the exchanges without a partner."""
    root = Element("testsuites", name="tapeline diff")
    if result.judged:
        _add_rules(root, result)
    _add_pairs(root, result)
    indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def _add_rules(root: Element, result: Result) -> None:
    states = [judged.state for judged in result.judged]
    suite = _suite(root, "rules", len(states), states.count(FIRED), states.count(NOT_JUDGED))
    for judged in result.judged:
        case = SubElement(suite, "testcase", classname="tapeline.diff.rules", name=_line(judged.rule))
        if judged.state == FIRED:
            SubElement(case, "failure", type="rule", message=_line(judged.message))
        elif judged.state == NOT_JUDGED:
            SubElement(case, "skipped", message=_line(judged.message))


def _add_pairs(root: Element, result: Result) -> None:
    failing = _failing(result)
    shown = {pair.pair.number: pair for pair in result.shown}
    name = f"{result.base.text} -> {result.candidate.text}"
    cases = len(result.pairs) + len(result.unpaired)
    suite = _suite(root, name, cases, len(failing), len(result.unpaired))
    for pair in result.pairs:
        _add_pair(suite, pair, shown.get(pair.number), is_failure=pair.number in failing)
    for unpaired in result.unpaired:
        _add_unpaired(suite, unpaired)


def _failing(result: Result) -> set[int]:
    if not result.judged:
        return {pair.number for pair in result.changed}
    return {number for judged in result.judged for number in judged.pairs}


def _add_pair(suite: Element, pair: Pair, shown: Shown | None, *, is_failure: bool) -> None:
    case = SubElement(suite, "testcase", classname=_line(wording.models(pair)), name=_name(pair.key, pair.occurrence))
    ids = f"{pair.base_id} -> {pair.candidate_id}"
    text = f"{ids}\n{_details(shown)}" if shown else ids
    if is_failure:
        kinds = ",".join(sorted(pair.changed_kinds()))
        SubElement(case, "failure", type=kinds, message=_line(wording.pair_words(pair))).text = text
    elif pair.differences:
        SubElement(case, "system-out").text = f"{_line(wording.pair_words(pair))}\n{text}"


def _add_unpaired(suite: Element, unpaired: Unpaired) -> None:
    case = SubElement(
        suite,
        "testcase",
        classname=_line(unpaired.model or "–"),
        name=f"{unpaired.side} {_name(unpaired.key or unpaired.exchange_id, unpaired.occurrence)}",
    )
    SubElement(
        case, "skipped", message=f"{unpaired.side.upper()} {unpaired.exchange_id} {wording.REASONS[unpaired.reason]}"
    )


def _details(shown: Shown) -> str:
    parts = [f"prompt: {shown.prompt}"] if shown.prompt else []
    for text in wording.changed_texts(shown):
        cut = bounded(shortened(pieces(text.base, text.candidate), _CONTEXT), _MOST_OF_A_TEXT)
        parts.append(f"{text.title}:\n{wording.marked_words(cut)}")
    return _text("\n".join(parts))


def _suite(root: Element, name: str, tests: int, failures: int, skipped: int) -> Element:
    counts = {"tests": tests, "failures": failures, "errors": 0, "skipped": skipped}
    return SubElement(root, "testsuite", {"name": _line(name), **{key: str(count) for key, count in counts.items()}})


def _name(key: str, occurrence: int) -> str:
    """Return a name that is the same in every comparison with this request."""
    return _line(f"{key[:_KEY_CHARACTERS]} #{occurrence}")


def _text(text: str) -> str:
    return _NO_XML.sub("\ufffd", visible(text))


def _line(text: str) -> str:
    return _NO_XML.sub("\ufffd", one_line(text))
