"""How values look, and that text from strangers does nothing."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest

from tapeline.pipeline.reports.render import as_csv, as_json, as_markdown, as_table, cell, heading
from tapeline.pipeline.reports.run import Table
from tapeline.pipeline.wire.terminal_text import one_line, visible

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
TABLE = Table(
    "test",
    "A title.",
    ["model", "day", "calls", "share", "cost_usd", "note"],
    [
        ("a", date(2026, 11, 21), 1234567, 0.5, Decimal("0.10"), None),
        ("a", date(2026, 11, 21), 2, None, None, "x|y\n=1+1"),
    ],
)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("calls", 1234567, "1,234,567"),
        ("ttft_ms", 1234.56, "1,234.6"),
        ("share", 0.1234, "12.3 %"),
        ("calls", None, "–"),
        ("calls", 0, "0"),
        ("cost_usd", Decimal("1234.5"), "1,234.500000"),
        ("cost_usd", Decimal("0.0000123456"), "0.00001235"),
        ("cost_usd", Decimal("-0.0005"), "-0.0005000"),
        ("cost_usd", Decimal(0), "0.000000"),
        ("cost_usd", Decimal("0E-12"), "0.000000"),
        ("cost_usd", 0.0000123456, "0.00001235"),
        ("avg(cost_usd)", 0.0421, "0.042100"),
        ("average_usd", float("nan"), "nan"),
        ("seconds", 0.00421, "0.0042"),
        ("seconds", 0.0, "0.0"),
        ("flag", True, "yes"),
        ("at", NOON, "2026-11-21 12:00:00"),
        ("text", "a\nb", "a⏎b"),
        ("list", [{"a": 1}], '[{"a":1}]'),
    ],
)
def test_a_value_for_people(column: str, value: Any, text: str) -> None:
    assert cell(column, value) == text


def test_units_stand_in_the_heading() -> None:
    assert heading("ttft_p50_ms") == "ttft p50 (ms)"
    assert heading("prompt_tokens") == "prompt tokens"


@pytest.mark.parametrize(
    "text", ["\x1b[31m", "\x9b2J", "\x07", "\r", "\x7f", "\u202e", "\u2066", "\u200f", "\x00", "\ud800"]
)
def test_what_would_act_on_a_terminal_becomes_visible(text: str) -> None:
    shown = visible(f"a{text}b")
    assert text[0] not in shown
    assert shown.startswith("a\\")
    assert shown.encode()


def test_ordinary_text_of_any_script_stays() -> None:
    text = "日本語 עברית é\n\t👩‍👩‍👧"
    assert visible(text) == text
    assert "\n" not in one_line(text)


def test_json_keeps_figures_and_digits() -> None:
    document = json.loads(as_json(TABLE), parse_float=Decimal)
    assert document["rows"][0] == {
        "model": "a",
        "day": "2026-11-21",
        "calls": 1234567,
        "share": Decimal("0.5"),
        "cost_usd": Decimal("0.10"),
        "note": None,
    }


def test_csv_reads_back() -> None:
    rows = list(csv.reader(StringIO(as_csv(TABLE))))
    assert rows[1] == ["a", "2026-11-21", "1234567", "0.5", "0.10", ""]
    assert rows[2][5] == "x|y\n=1+1"


def test_markdown_stays_a_table_whatever_is_in_it() -> None:
    lines = as_markdown(TABLE).splitlines()
    assert lines[2:4] == [
        "| model | day | calls | share | cost (USD) | note |",
        "|---|---|---:|---:|---:|---|",
    ]
    assert lines[5].count(" | ") == 5
    assert "x\\|y⏎=1+1" in lines[5]


def test_a_table_shows_a_group_once() -> None:
    lines = as_table(TABLE).splitlines()
    assert lines[0] == "A title."
    assert [line.split()[0] for line in lines if "2026" in line or "⏎" in line] == ["a", "2"]


WIDE = Table(
    "wide",
    "A title.",
    ["model", "day", "at", "calls", "said", "counted", "other", "last_bytes", "note"],
    [
        (
            "a-model-with-a-long-name",
            date(2026, 11, 21),
            NOON,
            1234567,
            None,
            12345678,
            0,
            123456789,
            "it ended before its time",
        )
    ],
)


def at_width(monkeypatch: pytest.MonkeyPatch, table: Table, width: int) -> list[str]:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    return [re.sub("\x1b\\[[0-9;]*m", "", line) for line in as_table(table).splitlines()]


def spelled(lines: list[str], heading: str) -> str:
    """What stands below a heading, its folds undone."""
    rule = next(number for number, line in enumerate(lines) if "──" in line)
    start = lines[rule - 1].index(heading)
    following = lines[rule - 1][start + len(heading) :]
    end = start + len(heading) + len(following) - len(following.lstrip())
    return "".join(line[start:end].strip() for line in lines[rule + 1 :] if line.startswith(" "))


@pytest.mark.parametrize("width", [60, 70, 80, 90, 99, 100, 120, 200])
def test_a_table_fits_the_terminal_and_cuts_nothing(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = at_width(monkeypatch, WIDE, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    assert spelled(lines, "model") == "a-model-with-a-long-name"
    assert "2026-11-21" in text
    for heading_, value in (("calls", "1,234,567"), ("counted", "12,345,678"), ("last", "123,456,789")):
        assert value in text or heading_ in text.split("No room for: ")[1].split(". ")[0]


def test_what_says_nothing_gives_way_first_and_a_note_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No room" not in "\n".join(at_width(monkeypatch, WIDE, 200))
    lines = at_width(monkeypatch, WIDE, 84)
    assert "No room for: said, other. --format json has all." in lines
    (note,) = [line for line in at_width(monkeypatch, WIDE, 64) if line.startswith("No room for: ")]
    assert note.startswith("No room for: said, other, last (bytes). ")


CHARTED = Table(
    "r",
    "A title.",
    ["model", "calls", "day"],
    [("a", 40, "x"), ("b", 10, "y"), ("c", None, "z")],
    charts=("bar x=calls y=model",),
)


def test_figures_that_a_chart_is_of_have_small_bars_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = [
        line.count("█") for line in at_width(monkeypatch, CHARTED, 80) if line.startswith(" ") and "calls" not in line
    ]
    assert [count for count in bars if count] == [12, 3]
    assert not any("█" in line for line in at_width(monkeypatch, CHARTED, 24))
    monkeypatch.delenv("FORCE_COLOR")
    assert "█" not in as_table(CHARTED)


def test_figures_that_are_no_numbers_have_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = replace(CHARTED, rows=[("a", 40, "x"), ("b", float("nan"), "y"), ("c", float("inf"), "z"), ("d", -4, "z")])
    bars = [line.count("█") for line in at_width(monkeypatch, odd, 80) if line.startswith(" ") and "calls" not in line]
    assert [count for count in bars if count] == [12]


def test_who_wants_no_colour_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert re.search("\x1b\\[[0-9;]*3[0-9]", as_table(CHARTED))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search("\x1b\\[[0-9;]*3[0-9]", as_table(CHARTED))


def test_rows_that_are_the_same_are_all_shown() -> None:
    same = as_table(Table("r", "A title.", ["provider", "model"], [("p", "m"), ("p", "m"), ("p", "n")]))
    assert [line.split() for line in same.splitlines() if line.strip()][-3:] == [["p", "m"], ["p", "m"], ["n"]]
