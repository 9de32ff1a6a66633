"""A comparison for the terminal; without colours, for a pipe for example, marks show the changed words.

Words that only BASE has are then written `[-so-]`, and words that only the candidate has `{+so+}`.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...wire.terminal_text import one_line, visible
from ..result import SIDES, Result, Shown
from ..rules import FIRED
from ..words import pieces, shortened
from . import wording

_PIPED_WIDTH = 100
# On narrower terminals, columns are one space apart, not two.
_ROOMY_WIDTH = 100
# Equal words that are shown on each side of a change.
_CONTEXT = 12
_MOST_UNPAIRED = 10
_PROMPT_CHARACTERS = 200
_VERDICT_STYLES = {"more": "yellow", "less": "yellow"}


def write(result: Result) -> str:
    """Return a summary by kind of change, the figures, the rules, and the changed pairs."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    has_colours = console.is_terminal and not console.no_color
    with console.capture() as capture:
        for part in _parts(result, has_colours, gap=2 if console.width >= _ROOMY_WIDTH else 1):
            console.print(part)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _parts(result: Result, has_colours: bool, gap: int) -> Iterator[RenderableType]:
    yield Text(wording.headline(result), style="bold")
    for name, text, coverage in wording.sides(result):
        yield Text(f"{name}: {one_line(text)}. {coverage}", style="dim")
    for note in wording.notes(result):
        yield Text(note)
    if result.judged:
        yield _rules(result)
    if kinds := wording.kind_cells(result):
        yield _grid(wording.KIND_COLUMNS, kinds, gap)
    if figures := wording.figure_cells(result):
        yield _grid(wording.FIGURE_COLUMNS, list(_without_repeats(figures)), gap, names=2)
    for place, shown in enumerate(result.shown, 1):
        yield from _pair(place, shown, has_colours)
    if left_out := len(result.changed) - len(result.shown):
        yield Text(f"\nChanged pairs that are not shown: {left_out:,}; --limit shows more.")
    yield from _unpaired(result)


def _rules(result: Result) -> Table:
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for judged in result.judged:
        style = "bold red" if judged.state == FIRED else "green" if judged.pairs else ""
        grid.add_row(Text(judged.state.upper(), style=style), Text(judged.rule), Text(judged.message))
    return grid


def _grid(columns: list[str], rows: list[list[str]], gap: int, names: int = 1) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, gap - 1, 0, 0))
    for position, column in enumerate(columns):
        grid.add_column(Text(column), justify="left" if position < names else "right", no_wrap=position >= names)
    for row in rows:
        grid.add_row(*(Text(text, style=_VERDICT_STYLES.get(text, "")) for text in row))
    return grid


def _without_repeats(rows: list[list[str]]) -> Iterator[list[str]]:
    """Yield the rows, without the name where the row above has the same."""
    above = ""
    for name, *cells in rows:
        yield ["" if name == above else name, *cells]
        above = name


def _pair(place: int, shown: Shown, has_colours: bool) -> Iterator[RenderableType]:
    pair = shown.pair
    ids = f"{wording.short(pair.base_id)} → {wording.short(pair.candidate_id)}"
    yield Text(
        f"\n{place}. {one_line(wording.models(pair))}  {ids}  {one_line(wording.pair_words(pair))}", style="bold"
    )
    if shown.prompt:
        yield _indented(Text(f"prompt: {_cut(one_line(shown.prompt))}", style="dim"))
    if figures := wording.figure_words(shown):
        yield _indented(Text(figures, style="dim"))
    for text in wording.changed_texts(shown):
        yield _indented(Text(f"{text.title}:", style="dim"))
        yield _indented(_word_diff(text, has_colours))


def _word_diff(changed: wording.ChangedText, has_colours: bool) -> Text:
    cut = shortened(pieces(changed.base, changed.candidate), _CONTEXT)
    if not has_colours:
        return Text(visible(wording.marked_words(cut)))
    text = Text()
    for piece in cut:
        if piece.is_same:
            text.append(visible(piece.candidate))
        else:
            text.append(visible(piece.base), style="red strike")
            text.append(visible(piece.candidate), style="green")
    return text


def _unpaired(result: Result) -> Iterator[RenderableType]:
    for side in SIDES:
        members = [unpaired for unpaired in result.unpaired if unpaired.side == side]
        if not members:
            continue
        yield Text(f"\nWithout a partner, {wording.unpaired_words(result, side)}", style="bold")
        for unpaired in members[:_MOST_UNPAIRED]:
            model = one_line(unpaired.model or "–")
            yield _indented(Text(f"{wording.short(unpaired.exchange_id)}  {model}  {wording.REASONS[unpaired.reason]}"))
        if len(members) > _MOST_UNPAIRED:
            yield _indented(Text(f"and {len(members) - _MOST_UNPAIRED:,} more: --format json lists all."))


def _indented(content: RenderableType) -> Padding:
    return Padding(content, (0, 0, 0, 3))


def _cut(text: str) -> str:
    return text if len(text) <= _PROMPT_CHARACTERS else f"{text[:_PROMPT_CHARACTERS]}…"
