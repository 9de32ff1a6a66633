"""Makes the charts of a report (`chart_spec`), as Vega-Lite specifications by Altair."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from math import isfinite
from typing import Any

import altair as alt

from ...errors import UsageError
from ...wire.terminal_text import visible
from ..chart_spec import Chart, read_chart
from ..render import cell, heading
from ..run import Table

# Altair's types, and D for days.
_TYPES = "QOTND"
# The most names and colors that a reader can tell apart.
_MOST_NAMES = 30
_MOST_COLORS = 10
_FEW_DAYS = 14
_HEIGHT = 240
_LINE_HEIGHT = 24
_PATH_SIGNS = re.compile(r"[.\[\]\\'\"]")
_FOLDED = ("measure", "amount")
_MARK_STYLES: dict[str, dict[str, Any]] = {
    "line": {"point": True, "strokeWidth": 2},
    "point": {"filled": True, "size": 60},
    "area": {"opacity": 0.7},
}

Row = dict[str, Any]


def specifications(table: Table) -> list[dict[str, Any]]:
    """Return the table's charts in Vega-Lite, without empty ones. Raises UsageError for an unknown column."""
    charts = [read_chart(line, table.name) for line in table.charts]
    return [spec for chart in charts if (spec := _specification(chart, table)) is not None]


def _specification(chart: Chart, table: Table) -> dict[str, Any] | None:
    kinds = {_name(column): _kind(table, column) for column in _columns(chart)}
    rows = [row for row in _rows(table, kinds, chart.where) if _is_drawn(row, chart)]
    color = _name(chart.color) if chart.color else None
    if chart.folded:
        rows, color = list(_folded(rows, chart)), _FOLDED[0]
        kinds |= {_FOLDED[0]: "N", _FOLDED[1]: "Q"}
    x, y = (_FOLDED[1] if columns == chart.folded else _name(columns[0]) for columns in (chart.x, chart.y))
    rows = _without_the_rest(rows, {name: _MOST_NAMES for name in (x, y) if kinds[name] == "N"})
    rows = _without_the_rest(rows, {color: _MOST_COLORS} if color else {})
    if not rows:
        return None
    _put_few_days_apart(kinds, rows)
    drawn = getattr(alt.Chart(alt.InlineData(values=rows)), f"mark_{chart.mark}")(**_MARK_STYLES.get(chart.mark, {}))
    encoded: dict[str, Any] = {
        "x": _axis(alt.X, x, kinds, chart.unit),
        "y": _axis(alt.Y, y, kinds, chart.unit),
        "tooltip": [_tooltip(name, kinds[name]) for name in rows[0]],
    }
    if color:
        encoded["color"] = alt.Color(field=_path(color), type="nominal", title=None, sort=None)
    lines = len({row[y] for row in rows}) if kinds[y] == "N" else 0
    if color and chart.folded and chart.mark == "bar":
        # Percentiles and shares are drawn side by side, because they do not add up.
        offset, channel = ("yOffset", alt.YOffset) if lines else ("xOffset", alt.XOffset)
        encoded[offset] = channel(field=_path(color), type="nominal", sort=None)
    return _finished(drawn.encode(**encoded), chart, lines)


def _finished(drawn: alt.Chart, chart: Chart, lines: int) -> dict[str, Any]:
    """Return the specification; horizontal bars take a line each, so that their names can be read."""
    said = {"title": visible(chart.title)} if chart.title else {}
    # Axes and legend add to the height, so that the bars keep theirs.
    fit = {"type": "fit-x", "contains": "padding"}
    height = lines * max(_LINE_HEIGHT, 9 * len(chart.folded)) or _HEIGHT
    spec: dict[str, Any] = drawn.properties(width="container", height=height, autosize=fit, **said).to_dict()
    spec.pop("config", None)
    return spec


def _columns(chart: Chart) -> list[str]:
    return [*chart.x, *chart.y, *([chart.color] if chart.color else [])]


def _name(column: str) -> str:
    return column.partition(":")[0]


def _kind(table: Table, column: str) -> str:
    name, _, kind = column.partition(":")
    position = _position(table, name)
    if kind and kind in _TYPES:
        return kind
    value = next((row[position] for row in table.rows if row[position] is not None), None)
    if isinstance(value, date):
        return "T" if isinstance(value, datetime) else "D"
    is_figure = value is None or (isinstance(value, int | float | Decimal) and not isinstance(value, bool))
    return "Q" if is_figure else "N"


def _position(table: Table, name: str) -> int:
    if name not in table.columns:
        raise UsageError(
            f"Report {table.name} has no column {name!r} for its chart. It has: {', '.join(table.columns)}."
        )
    return table.columns.index(name)


def _rows(table: Table, kinds: dict[str, str], where: tuple[str, str] | None) -> Iterator[Row]:
    """Return the rows to draw; an unknown name is the table's sign for it."""
    positions = {name: _position(table, name) for name in kinds}
    wanted = _position(table, where[0]) if where else 0
    for row in table.rows:
        if where is None or str(row[wanted]) == where[1]:
            yield {
                name: cell(name, None) if row[at] is None and kinds[name] == "N" else _value(row[at])
                for name, at in positions.items()
            }


def _value(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not isfinite(value):
        return None  # JSON has no such number, and an axis has no place for it
    return value if value is None or isinstance(value, int | float) else visible(str(value))


def _is_drawn(row: Row, chart: Chart) -> bool:
    """Whether a row is drawn: NULL is not 0, so a row without any x or any y is not."""
    return all(any(row[_name(column)] is not None for column in axis) for axis in (chart.x, chart.y))


def _folded(rows: list[Row], chart: Chart) -> Iterator[Row]:
    wanted = [_name(column) for column in chart.folded]
    for row in rows:
        others = {name: value for name, value in row.items() if name not in wanted}
        for name in wanted:
            if row[name] is not None:
                yield {**others, _FOLDED[0]: heading(name), _FOLDED[1]: row[name]}


def _without_the_rest(rows: list[Row], most: dict[str, int]) -> list[Row]:
    """Return the rows of the first names: reports order by importance, and the table has all rows."""
    for name, count in most.items():
        kept = list(dict.fromkeys(row[name] for row in rows))[:count]
        rows = [row for row in rows if row[name] in kept]
    return rows


def _put_few_days_apart(kinds: dict[str, str], rows: list[Row]) -> None:
    """Treat a few days as names: on an axis of time a single day would fill the page."""
    for name, kind in kinds.items():
        if kind == "D" and len({row[name] for row in rows}) <= _FEW_DAYS:
            kinds[name] = "O"


def _path(name: str) -> str:
    """Return a column's name as Vega-Lite's path."""
    return _PATH_SIGNS.sub(r"\\\g<0>", name)


def _axis(channel: Any, name: str, kinds: dict[str, str], unit: str | None) -> Any:
    match kinds[name]:
        case "Q":
            title = unit if unit or name == _FOLDED[1] else heading(name)
            # A prefix would mislead for money: 12m is not a million.
            spelled = ",.6~f" if name.endswith("_usd") else "~s"
            return channel(
                field=_path(name), type="quantitative", title=title, axis=alt.Axis(format=spelled, tickCount=5)
            )
        case "D":
            # Days and times are UTC, here as everywhere.
            return channel(field=_path(name), type="temporal", title="", timeUnit="utcyearmonthdate")
        case "T":
            return channel(field=_path(name), type="temporal", title="", scale=alt.Scale(type="utc"))
        case "O":
            scale = alt.Scale(paddingInner=0.3, paddingOuter=1)
            return channel(field=_path(name), type="ordinal", title="", axis=alt.Axis(labelAngle=0), scale=scale)
        case _:
            return channel(field=_path(name), type="nominal", title="", sort=None)


def _tooltip(name: str, kind: str) -> Any:
    if kind == "Q":
        return alt.Tooltip(field=_path(name), type="quantitative", title=heading(name), format=",.6~f")
    # Times as in the table: a chart would convert them to the reader's zone.
    return alt.Tooltip(field=_path(name), type="nominal", title=heading(name))
