"""The page: one HTML file with all it needs, which makes no requests.

The template escapes all foreign text, and the policy in the page's head allows only the page's own scripts and styles,
by their hashes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import altair as alt
import vl_convert
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ...wire.json_text import dumps
from ...wire.terminal_text import visible
from ..render import cell, coverage_line, heading
from ..run import Table
from .charts import specifications

# Browsers sort longer tables slowly.
_MOST_ROWS = 1_000
# Texts with more characters may take several lines.
_LONG = 32


@dataclass(frozen=True)
class _Column:
    heading: str
    is_figure: bool


@dataclass(frozen=True)
class _Cell:
    """A cell's text, and the value by which it is sorted and copied, if that is another."""

    text: str
    value: str | None
    style: str


def page(title: str, tables: Sequence[Table], calls: Sequence[dict[str, Any]] = ()) -> str:
    """Return the page of reports and calls (`waterfall.waterfall`). Raises UsageError for an impossible chart."""
    charts: list[dict[str, Any]] = []
    sections = [_section(table, charts) for table in tables]
    style, script = _read("page.css"), _read("page.js")
    library: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # has a default, unlike its stub
    text: str = _template().render(
        title=title,
        filters=_filters(tables),
        coverage=_coverage(tables[0]) if tables else "",
        sections=sections,
        calls=calls,
        figures=_data({"charts": charts, "calls": list(calls), "waterfall": _waterfall()}),
        style=Markup(style),
        script=Markup(script),
        library=Markup(library),
        policy=_policy(style, script, library),
        version=version("tapeline"),
        written_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
    )
    return text


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = lambda value: visible(str(value))
    return environment.from_string(_read("page.html"))


def _read(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")


def _policy(style: str, *scripts: str) -> str:
    def digest(text: str) -> str:
        return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {' '.join(map(digest, scripts))}; style-src {digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _data(figures: dict[str, Any]) -> Markup:
    """Return JSON that cannot end the script element that it stands in."""
    text = dumps(figures)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _coverage(table: Table) -> str:
    basis = {name: value for name, value in table.coverage.items() if name != "cost"}
    return coverage_line(basis) if basis else ""


def _filters(tables: Sequence[Table]) -> dict[str, str]:
    chosen = {name: value for table in tables for name, value in table.filters.items()}
    return {
        name: f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value) for name, value in chosen.items()
    }


def _section(table: Table, charts: list[dict[str, Any]]) -> dict[str, Any]:
    first = len(charts)
    charts += specifications(table)
    columns = [
        _Column(heading(column), any(_is_figure(row[position]) for row in table.rows))
        for position, column in enumerate(table.columns)
    ]
    return {
        "name": table.name,
        "title": table.title,
        "help": table.help,
        "params": table.params,
        "charts": range(first, len(charts)),
        "columns": columns,
        "rows": [_cells(table, row, columns) for row in table.rows[:_MOST_ROWS]],
        "left_out": max(0, len(table.rows) - _MOST_ROWS),
        # The coverage stands once at the top; only the coverage of costs stands at each report.
        "coverage": coverage_line(table.coverage) if "cost" in table.coverage else "",
    }


def _cells(table: Table, row: tuple[Any, ...], columns: list[_Column]) -> list[_Cell]:
    texts = (cell(name, value) for name, value in zip(table.columns, row, strict=True))
    return [
        _Cell(text, _sorted_by(value), "figure" if column.is_figure else "long" if len(text) > _LONG else "")
        for text, value, column in zip(texts, row, columns, strict=True)
    ]


def _sorted_by(value: Any) -> str | None:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    return repr(value) if _is_figure(value) else None


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _waterfall() -> dict[str, Any]:
    """Return the specification into which a call's stages and events are put."""
    stages = alt.Y(field="stage", type="nominal", sort=None, title="")
    bars = (
        alt.Chart(alt.NamedData("stages"))
        .mark_bar(height=16)
        .encode(
            x=alt.X(field="from", type="quantitative", title="ms"),
            x2=alt.X2(field="to"),
            y=stages,
            color=alt.Color(field="stage", type="nominal", sort=None, legend=None),
            tooltip=[
                alt.Tooltip(field="stage", type="nominal"),
                alt.Tooltip(field="from", type="quantitative", title="from (ms)", format=",.3~f"),
                alt.Tooltip(field="to", type="quantitative", title="to (ms)", format=",.3~f"),
            ],
        )
    )
    ticks = (
        alt.Chart(alt.NamedData("events"))
        .mark_tick(height=24, thickness=1)
        .encode(x=alt.X(field="at", type="quantitative"), y=stages)
    )
    spec: dict[str, Any] = (
        alt.layer(bars, ticks)
        .properties(width="container", autosize={"type": "fit-x", "contains": "padding"})
        .to_dict()
    )
    spec.pop("config", None)
    return spec
