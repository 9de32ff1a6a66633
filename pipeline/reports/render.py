"""Formats a table: for the terminal, as JSON, CSV or Markdown.

Control characters of foreign text are made visible before it reaches a terminal (`wire.terminal_text`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from io import StringIO
from math import isfinite
from typing import Any

from rich import box
from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from ..wire.json_text import dumps
from ..wire.terminal_text import UNSAFE, one_line
from .chart_spec import read_chart
from .run import Table

# Characters that start a formula in spreadsheets, by OWASP's list: common and full-width forms.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# The end of a column's name is its unit.
_UNITS = {"_ms": "ms", "_us": "µs", "_s": "s", "_usd": "USD", "_bytes": "bytes", "_share": "share"}
_PIPED_WIDTH = 200
# From this width on columns are two spaces apart, below it one.
_ROOMY_WIDTH = 100
_SMALL_MONEY = Decimal("0.001")
# Values that one decimal would round to 0.
_LITTLE = 0.05
# Names with fewer characters a line are hard to read.
_READABLE_NAME = 12
_NARROWEST_NAME = 8
# The longest cell on the terminal: a message may be a page long.
_LONGEST_CELL = 60
_BAR_WIDTH = 12


def json_text(value: Any) -> str:
    """Return compact JSON that every reader understands, and that does nothing on a terminal."""
    # In JSON these characters occur only inside strings, where they may be escaped.
    return UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", dumps(value))


def heading(column: str) -> str:
    """Return a column's name for people, with its unit in parentheses."""
    column = one_line(column)
    for ending, unit in _UNITS.items():
        if column.endswith(ending):
            return f"{column.removesuffix(ending).replace('_', ' ')} ({unit})"
    return column.replace("_", " ")


def cell(column: str, value: Any) -> str:
    """Return a value for people: thousands separated, one decimal, shares as percentages; a sign for unknown ones."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float | Decimal):
        return _fraction(column, value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list | dict):
        return one_line(dumps(_plain(value)))
    return one_line(str(value))


def _fraction(column: str, value: float | Decimal) -> str:
    if _is_share(column):
        return f"{value * 100:.1f} %"
    if _is_money(column) and isfinite(value):
        return _money(Decimal(str(value)))
    # A small figure would read as 0.
    return f"{value:.2g}" if value and -_LITTLE < value < _LITTLE else f"{value:,.1f}"


def coverage_line(coverage: dict[str, Any]) -> str:
    """Return a sentence on what the figures rest on."""
    calls, lost = coverage["calls"], coverage["not_recorded"]
    known_lost = f"NOT RECORDED: {lost:,} (see `tapeline doctor`)" if lost else "nothing known to be lost"
    if not calls:
        return f"No call matches; {known_lost}."
    parts = [
        f"{calls:,} calls from {_minute(coverage['first_at'])} to {_minute(coverage['last_at'])} UTC",
        f"whole answers {_part(coverage['complete'], calls)}",
        f"usage reported by {_part(coverage['usage_reported'], calls)}",
        f"first token timed in {coverage['first_token_timed']:,} of {coverage['streamed']:,} streamed",
    ]
    if coverage["reassembled_with_loss"]:
        parts.append(f"not reassembled without loss {coverage['reassembled_with_loss']:,}")
    if "cost" in coverage:
        parts.append(_cost_part(coverage["cost"], calls))
    parts.append(known_lost)
    return "; ".join(parts) + "."


def as_table(table: Table) -> str:
    """Return the table for the terminal, or for a pipe, where it is wide and plain."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    sides = 1 if console.width >= _ROOMY_WIDTH else 0
    grid = RichTable(
        box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, collapse_padding=True, padding=(0, sides)
    )
    columns = [_Column.of(name, [row[position] for row in table.rows]) for position, name in enumerate(table.columns)]
    room = _Room(console.width, 1 + sides)
    shown = room.choose(columns)
    folded_to = room.fold([columns[position] for position in shown])
    barred = _barred(table) if console.is_terminal and room.holds_bars([columns[at] for at in shown]) else None
    for position in shown:
        column = columns[position]
        grid.add_column(
            Text(column.heading),
            justify="right" if column.is_numeric else "left",
            overflow="fold",
            width=column.width(folded_to),
        )
        if position == barred:
            grid.add_column(width=_BAR_WIDTH)
    most = max((_length(row[barred]) for row in table.rows), default=0.0) if barred is not None else 0.0
    above: list[str] = []
    for row in table.rows:
        cells = [cell(table.columns[position], row[position]) for position in shown]
        shapes: list[RenderableType] = []
        for position, text in zip(shown, _without_repeats(cells, above, [row[at] for at in shown]), strict=True):
            shapes.append(Text(text))
            if position == barred:
                shapes.append(Bar(most or 1.0, 0, _length(row[barred])))
        grid.add_row(*shapes)
        above = cells
    with console.capture() as capture:
        console.print(Text(table.title, style="bold"))
        if table.rows:
            console.print(grid)
            console.print(Text(_left_out(columns, shown), style="dim"), end="")
        if table.coverage:
            console.print(Text(coverage_line(table.coverage), style="dim"))
    return capture.get()


def _barred(table: Table) -> int | None:
    """Return the column that the report's first chart draws as bars, if it draws all rows."""
    charts = [read_chart(line, table.name) for line in table.charts[:1]]
    for chart in charts:
        for name in (*chart.x, *chart.y) if chart.mark == "bar" and chart.where is None else ():
            position = table.columns.index(name) if name in table.columns else None
            if position is not None and any(_is_number(row[position]) for row in table.rows):
                return position
    return None


def _length(value: Any) -> float:
    """Return the value of a bar; none for an unknown value or one that is not finite."""
    return max(float(value), 0.0) if _is_number(value) and isfinite(value) else 0.0


def _left_out(columns: list[_Column], shown: list[int]) -> str:
    names = [column.heading for position, column in enumerate(columns) if position not in shown]
    return f"No room for: {', '.join(names)}. --format json has all.\n" if names else ""


@dataclass(frozen=True)
class _Column:
    """A column on a terminal: figures and days stay on one line, names and messages may be folded."""

    heading: str
    widest: int
    least: int
    says_nothing: bool
    is_numeric: bool

    @classmethod
    def of(cls, name: str, values: list[Any]) -> _Column:
        title, is_numeric = heading(name), any(map(_is_number, values))
        widest = max(map(cell_len, (*title.split(), *(cell(name, value) for value in values))), default=0)
        if is_numeric or any(type(value) is date for value in values):
            least = widest
        else:
            # A time may take two lines, but a day stays on one.
            least = max((len(str(value.date())) for value in values if isinstance(value, datetime)), default=1)
        return cls(title, widest, least, not any(values), is_numeric)

    def width(self, folded_to: int) -> int:
        """Return the width if names are folded this far."""
        return max(min(self.widest, folded_to), self.least)


@dataclass(frozen=True)
class _Room:
    """The width of a terminal, and the space between columns."""

    width: int
    between: int

    def choose(self, columns: list[_Column]) -> list[int]:
        """Return the positions of columns that fit: empty ones give way first, then the last figures."""
        shown = list(range(len(columns)))

        def is_too_wide(folded_to: int) -> bool:
            return not self._holds([columns[position] for position in shown], folded_to)

        for position in reversed(shown[1:]):
            if columns[position].says_nothing and is_too_wide(_READABLE_NAME):
                shown.remove(position)
        for position in reversed(shown[1:]):
            if columns[position].is_numeric and is_too_wide(_NARROWEST_NAME):
                shown.remove(position)
        return shown

    def holds_bars(self, columns: list[_Column]) -> bool:
        """Whether bars fit beside all columns without folding one."""
        bars = _Column("", _BAR_WIDTH, _BAR_WIDTH, says_nothing=False, is_numeric=True)
        return self._holds([*columns, bars], _LONGEST_CELL)

    def fold(self, columns: list[_Column]) -> int:
        """Return how many characters a line names may have, so that no column is cut."""
        return next((width for width in range(_LONGEST_CELL, 1, -1) if self._holds(columns, width)), 1)

    def _holds(self, columns: list[_Column], folded_to: int) -> bool:
        edges = 2
        spaces = self.between * (len(columns) - 1) + edges
        return sum(column.width(folded_to) for column in columns) + spaces <= self.width


def _without_repeats(cells: list[str], above: list[str], values: list[Any]) -> list[str]:
    """Leave out leading names that the row above has, too, so that rows read as groups."""
    repeated = 0
    while repeated < len(above) and cells[repeated] == above[repeated] and not _is_number(values[repeated]):
        repeated += 1
    if repeated == len(cells):
        return cells  # an empty row would look like no row
    return [""] * repeated + cells[repeated:]


def as_json(table: Table) -> str:
    """Return the table as JSON: names as in the SQL, exact figures, times in ISO 8601 with their zone."""
    rows = [dict(zip(table.columns, map(_plain, row), strict=True)) for row in table.rows]
    document = {
        "report": table.name,
        "filters": _plain(table.filters),
        "params": table.params,
        "coverage": _plain(table.coverage),
        "rows": rows,
    }
    return json_text(document) + "\n"


def as_csv(table: Table) -> str:
    """Return the table as CSV (RFC 4180) with a head line; unknown values are empty, and no text is a formula."""
    buffer = StringIO()
    writer = csv.writer(buffer)
    writer.writerow(map(_csv_cell, table.columns))
    for row in table.rows:
        writer.writerow("" if value is None else _csv_cell(value) for value in row)
    return buffer.getvalue()


def as_markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown, with its coverage below."""
    lines = [
        f"### {table.title}",
        "",
        "| " + " | ".join(_markdown_cell(heading(column)) for column in table.columns) + " |",
        "|" + "|".join(_markdown_rule(table, position) for position in range(len(table.columns))) + "|",
    ]
    for row in table.rows:
        cells = (_markdown_cell(cell(column, value)) for column, value in zip(table.columns, row, strict=True))
        lines.append("| " + " | ".join(cells) + " |")
    if table.coverage:
        lines += ["", coverage_line(table.coverage)]
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "table": as_table,
    "json": as_json,
    "csv": as_csv,
    "markdown": as_markdown,
}


def _plain(value: Any) -> Any:
    """Return a value that JSON has a type for."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    is_number = isinstance(value, int | Decimal) or (isinstance(value, float) and isfinite(value))
    return value if value is None or is_number or isinstance(value, str) else str(value)


def _csv_cell(value: Any) -> Any:
    """Return exact figures, and an apostrophe before text that starts like a formula."""
    if isinstance(value, Decimal):
        # Spreadsheets do not read numbers with exponents as money.
        return format(value, "f")
    plain = _plain(value)
    text = dumps(plain) if isinstance(plain, dict | list) else plain
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA_STARTS) else text


def _markdown_cell(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#~&$])", r"\\\1", text)


def _markdown_rule(table: Table, position: int) -> str:
    return "---:" if any(_is_number(row[position]) for row in table.rows) else "---"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _is_money(column: str) -> bool:
    # A query without column names has names such as `avg(cost_usd)`.
    return column.rstrip(")").endswith(("_usd", "reported_cost"))


def _money(amount: Decimal) -> str:
    """Return money to the millionth of a dollar; below a thousandth, four significant digits."""
    if amount and abs(amount) < _SMALL_MONEY:
        return f"{amount:.{3 - amount.adjusted()}f}"
    return f"{amount:,.6f}"


def _cost_part(cost: dict[str, Any], calls: int) -> str:
    """Return for how many calls the cost is known, and why not for the others."""
    said = [f"cost covers {_part(cost['priced'], calls)}"]
    if cost["partial"]:
        said.append(f"{_part(cost['partial'], calls)} in part, at least {_money(cost['partial_usd'])} USD more")
    if cost["unpriced"]:
        absent = f", {cost['usage_absent']:,} of them without usage" if cost["usage_absent"] else ""
        said.append(f"{_part(cost['unpriced'], calls)} unpriced{absent}")
    if cost["invalid_usage"]:
        said.append(f"{_part(cost['invalid_usage'], calls)} with usage that cannot be")
    if cost["prices"]:
        said.append(f"prices of {cost['prices']}")
    return ", ".join(said)


def _is_share(column: str) -> bool:
    return column == "share" or column.endswith("_share")


def _part(count: int, whole: int) -> str:
    return f"{count:,} ({count / whole * 100:.0f} %)" if whole else "0"


def _minute(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")
