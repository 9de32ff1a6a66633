"""A comparison as one HTML page, side by side. The page is complete in itself: no script, no request.

All recorded text is escaped. Anything that got past the escaping is stopped by the content security policy in the head.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html import escape
from importlib.resources import files

from ...wire.terminal_text import one_line, visible
from ..result import SIDES, Result, Shown
from ..rules import FIRED
from ..words import Piece, pieces
from . import wording

# Pairs that are unfolded from the start; the others unfold with a click.
_OPEN = 5
_MOST_UNPAIRED = 200


def write(result: Result) -> str:
    """Return the page."""
    style = (files(__package__) / "page.css").read_text("utf-8")
    title = f"{result.base.text} – {result.candidate.text}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(style)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{_line(title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            *_body(result),
            "</body>",
            "</html>",
            "",
        ]
    )


def _policy(style: str) -> str:
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _body(result: Result) -> Iterator[str]:
    yield f"<h1>{_line(result.base.text)} <span>→</span> {_line(result.candidate.text)}</h1>"
    yield f'<p class="headline">{escape(wording.headline(result))}</p>'
    for name, text, coverage in wording.sides(result):
        yield f'<p class="basis"><b>{name}</b> {_line(text)}: {escape(coverage)}</p>'
    for note in wording.notes(result):
        yield f'<p class="note">{escape(note)}</p>'
    if result.judged:
        yield _rules(result)
    if kinds := wording.kind_cells(result):
        yield _table("Kinds of change", wording.KIND_COLUMNS, kinds, names=1)
    if result.shown:
        yield "<h2>Changed pairs</h2>"
    for place, shown in enumerate(result.shown, 1):
        yield from _pair(place, shown)
    if left_out := len(result.changed) - len(result.shown):
        yield f'<p class="note">Changed pairs that are not shown: {left_out:,}; --limit shows more.</p>'
    if figures := wording.figure_cells(result):
        yield _table("Tokens, cost and time", wording.FIGURE_COLUMNS, figures, names=2)
    yield from _unpaired(result)


def _rules(result: Result) -> str:
    rows = "".join(
        f'<tr class="{"fired" if judged.state == FIRED else "kept"}"><td>{escape(judged.state)}</td>'
        f"<td><code>{_line(judged.rule)}</code></td><td>{escape(judged.message)}</td></tr>"
        for judged in result.judged
    )
    return f"<h2>Rules</h2>{_wide(rows)}"


def _table(title: str, columns: list[str], rows: list[list[str]], names: int) -> str:
    """Return a table; the cells after the first `names` ones are figures."""

    def line(cells: list[str], tag: str) -> str:
        kinds = ("" if position < names else ' class="figure"' for position in range(len(cells)))
        return "".join(f"<{tag}{kind}>{escape(text)}</{tag}>" for kind, text in zip(kinds, cells, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    head = f"<thead><tr>{line(columns, 'th')}</tr></thead>"
    return f"<h2>{escape(title)}</h2>{_wide(f'{head}<tbody>{body}</tbody>')}"


def _wide(rows: str) -> str:
    """Return a table that scrolls where the page is narrow."""
    return f'<div class="wide"><table>{rows}</table></div>'


def _pair(place: int, shown: Shown) -> Iterator[str]:
    pair = shown.pair
    ids = f"{wording.short(pair.base_id)} → {wording.short(pair.candidate_id)}"
    yield f"<details{' open' if place <= _OPEN else ''}><summary><b>{place}.</b> {_line(wording.models(pair))}"
    yield f'<span class="ids">{escape(ids)}</span> {_line(wording.pair_words(pair))}</summary>'
    if shown.prompt:
        yield f'<div class="prompt"><h3>prompt</h3><div class="text">{_text(shown.prompt)}</div></div>'
    for text in wording.changed_texts(shown):
        cut = pieces(text.base, text.candidate)
        yield f'<h3>{escape(text.title)}</h3><div class="sides">'
        yield f'<div class="text"><span class="side">BASE</span>{_side(cut, "base", "del")}</div>'
        yield f'<div class="text"><span class="side">CANDIDATE</span>{_side(cut, "candidate", "ins")}</div></div>'
    if figures := wording.figure_words(shown):
        yield f'<p class="basis">{escape(figures)}</p>'
    yield "</details>"


def _side(cut: list[Piece], side: str, tag: str) -> str:
    parts = ((piece.is_same, getattr(piece, side)) for piece in cut)
    return "".join(_text(text) if is_same else f"<{tag}>{_text(text)}</{tag}>" for is_same, text in parts if text)


def _unpaired(result: Result) -> Iterator[str]:
    for side in SIDES:
        members = [unpaired for unpaired in result.unpaired if unpaired.side == side]
        if members:
            rows = "".join(
                f"<tr><td><code>{_line(unpaired.exchange_id)}</code></td><td>{_line(unpaired.model or '–')}</td>"
                f"<td>{escape(wording.REASONS[unpaired.reason])}</td></tr>"
                for unpaired in members[:_MOST_UNPAIRED]
            )
            more = len(members) - _MOST_UNPAIRED
            yield f"<h2>Without a partner</h2><p>{escape(wording.unpaired_words(result, side))}</p>"
            yield _wide(rows)
            if more > 0:
                yield f'<p class="note">and {more:,} more: --format json lists all.</p>'


def _text(text: str) -> str:
    return escape(visible(text))


def _line(text: str) -> str:
    return escape(one_line(text))
