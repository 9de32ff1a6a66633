"""A comparison as a comment for a pull request: of bounded length, and it names the number of pairs it leaves out.

Recorded text is put into `pre` and `code`, with punctuation as character references. There GitHub makes no links,
interprets no Markdown, and notifies nobody who is mentioned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from ...wire.terminal_text import one_line, visible
from ..result import SIDES, Result, Shown
from ..words import bounded, pieces, shortened
from . import wording

# A comment on GitHub holds 65,536 characters.
MOST_CHARACTERS = 60_000
# For one text of a pair, so that there is room for many pairs.
_MOST_OF_A_TEXT = 4_000
_CONTEXT = 12
_MOST_NAME = 200
_PUNCTUATION = re.compile(r"[^\w\s]|_")


def write(result: Result) -> str:
    """Return a summary, and changed pairs as long as there is room."""
    text = "\n\n".join(_summary(result)) + "\n"
    room = MOST_CHARACTERS - len(text)
    blocks: list[str] = []
    for place, shown in enumerate(result.shown, 1):
        block = _pair(place, shown)
        room -= len(block) + 1
        if room < 0:
            break
        blocks.append(block)
    if left_out := len(result.changed) - len(blocks):
        blocks.append(f"Changed pairs that are not shown: {left_out:,}; `--format html` with `--limit` shows more.\n")
    return "\n".join([text, *blocks])


def _summary(result: Result) -> Iterator[str]:
    yield f"### {wording.headline(result)}"
    yield "\n".join(f"- {name} {_code(text)}: {coverage}" for name, text, coverage in wording.sides(result))
    yield from wording.notes(result)
    if result.judged:
        rows = [[judged.state, _code(judged.rule), escape(judged.message)] for judged in result.judged]
        yield _table(["", "rule", "figures"], rows, names=3)
    if kinds := wording.kind_cells(result):
        yield _table(wording.KIND_COLUMNS, kinds, names=1)
    if figures := wording.figure_cells(result):
        yield "<details><summary>Tokens, cost and time</summary>"
        yield _table(wording.FIGURE_COLUMNS, figures, names=2)
        yield "</details>"
    for side in SIDES:
        if words := wording.unpaired_words(result, side):
            yield f"Without a partner, {words}."


def _table(columns: list[str], rows: list[list[str]], names: int) -> str:
    """Return a table in GitHub's Markdown; the columns after the first `names` ones are figures."""
    rules = ["---" if position < names else "---:" for position in range(len(columns))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, rules, *rows))


def _pair(place: int, shown: Shown) -> str:
    pair = shown.pair
    ids = f"{wording.short(pair.base_id)} → {wording.short(pair.candidate_id)}"
    lines = [
        f"<details><summary>{place}. {_code(wording.models(pair))} {ids}: {_code(wording.pair_words(pair))}</summary>"
    ]
    if shown.prompt:
        lines += ["", f"<pre>{escape(visible(_cut(shown.prompt)))}</pre>"]
    for text in wording.changed_texts(shown):
        lines += ["", f"{text.title}:", "", f"<pre>{_word_diff(text)}</pre>"]
    if figures := wording.figure_words(shown):
        lines += ["", figures]
    return "\n".join([*lines, "", "</details>", ""])


def _word_diff(text: wording.ChangedText) -> str:
    cut = bounded(shortened(pieces(text.base, text.candidate), _CONTEXT), _MOST_OF_A_TEXT)
    return "".join(
        _text(piece.candidate)
        if piece.is_same
        else (f"<del>{_text(piece.base)}</del>" if piece.base else "")
        + (f"<ins>{_text(piece.candidate)}</ins>" if piece.candidate else "")
        for piece in cut
    )


def _text(text: str) -> str:
    return escape(visible(text))


def _code(text: str) -> str:
    """Return text within a line, with all punctuation as character references, which Markdown does not interpret."""
    return f"<code>{_PUNCTUATION.sub(lambda mark: f'&#{ord(mark.group())};', one_line(_cut(text)))}</code>"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_NAME else f"{text[:_MOST_NAME]}…"
