"""Reads the chart lines in a report's head comment: `chart: line x=day y=calls color=model`.

Such a line names the mark (bar, line, area or point), the columns for x, y and color, and perhaps a title in quotes.
Several columns for x or y, between commas, are drawn side by side; `unit=ms` names their unit. A column may have
Altair's type, as in `x=day:O`; otherwise its values decide. `where="column:value"` draws only those rows. `page.charts`
draws the charts on a page, `render` small bars on a terminal.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from ..errors import UsageError

MARKS = ("bar", "line", "area", "point")
GRAMMAR = 'chart: MARK x=COLUMN y=COLUMN [color=COLUMN] [where="COLUMN:VALUE"] [unit=NAME] [title="..."]'
_KEYS = ("x", "y", "color", "where", "unit", "title")


@dataclass(frozen=True)
class Chart:
    """A chart that a line asks for."""

    mark: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    color: str | None = None
    where: tuple[str, str] | None = None
    unit: str | None = None
    title: str | None = None

    @property
    def folded(self) -> tuple[str, ...]:
        """The columns that share an axis."""
        return self.x if len(self.x) > 1 else self.y if len(self.y) > 1 else ()


def read_chart(line: str, report: str) -> Chart:
    """Return the chart of a line. Raises UsageError with the grammar."""
    try:
        mark, *pairs = shlex.split(line)
        values = dict(pair.split("=", 1) for pair in pairs)
    except ValueError:
        mark, values = "", {}
    x, y = (tuple(values.get(axis, "").split(",")) for axis in "xy")
    where = values.get("where")
    is_read = (
        mark in MARKS
        and values.keys() <= set(_KEYS)
        and all((*x, *y))
        and min(len(x), len(y)) == 1
        and (where is None or ":" in where)
    )
    if not is_read:
        raise UsageError(f"Report {report}: {line!r} is no chart. Write {GRAMMAR}, MARK one of {', '.join(MARKS)}.")
    column, _, value = (where or "").partition(":")
    rows = (column, value) if where else None
    return Chart(mark, x, y, values.get("color"), rows, values.get("unit"), values.get("title"))
