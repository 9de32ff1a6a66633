"""The page of reports in a real browser: charts are drawn, tables sort, and it complains of nothing and asks nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from tests.support.clients.browser import open_page
from tests.support.journals.journals import MadeUp, make_journal
from tests.support.journals.streamed import said
from tests.support.processes.recorder import tapeline_here

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=\"document.title = 'run'\"></script><script>document.title = 'run'</script>\u202e\x1b[2J"
LOOK = """new Promise((resolve) => {
  const look = () => ({
    title: document.title,
    charts: document.querySelectorAll('figure.chart').length,
    drawn: document.querySelectorAll('figure.chart[data-drawn]').length,
    marks: [...document.querySelectorAll('figure.chart')].map((chart) => chart.querySelectorAll('svg path').length),
    images: document.images.length,
    ground: getComputedStyle(document.body).backgroundColor,
    width: document.documentElement.scrollWidth - innerWidth,
    tables: Object.fromEntries([...document.querySelectorAll('section')].map((section) => [section.id,
      [...section.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))])),
    call: document.getElementById('events')?.textContent,
  });
  let left = 100;
  const wait = () => (--left && look().drawn < look().charts ? setTimeout(wait, 100) : resolve(look()));
  wait();
})"""
SORT = """(() => {
  const section = document.getElementById('usage');
  const heads = [...section.querySelectorAll('th')];
  const at = heads.findIndex((head) => head.textContent === 'prompt tokens');
  const seen = () => [...section.querySelectorAll('tbody tr')].map((row) => row.cells[at].textContent);
  heads[at].querySelector('button').click();
  const rising = seen();
  heads[at].querySelector('button').click();
  return [rising, seen(), heads[at].getAttribute('aria-sort')];
})()"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("page") / "data"
    exchanges = [
        MadeUp(model=model, usage=usage, host="api.openai.com")
        for model, usage in (
            ("gpt-4o", {"prompt_tokens": 1200, "completion_tokens": 30}),
            ("gpt-4o-mini", {"prompt_tokens": 90, "completion_tokens": 3}),
            ("gpt-4.1", None),
            (HOSTILE, {"prompt_tokens": 7, "completion_tokens": 1}),
        )
    ]
    make_journal(data, [*exchanges, said(100_000, 150_000, 400_000, ended_us=450_000), MadeUp(status=429, usage=None)])
    return data


@pytest.fixture(scope="module")
def page(recorded: Path) -> Path:
    path = recorded.parent / "page.html"
    result = tapeline_here("report", "--data", recorded, "--format", "html", "-o", path)
    assert result.returncode == 0, result.stderr
    return path


@pytest.mark.parametrize(("scheme", "ground"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 26)")])
def test_charts_are_drawn_and_nothing_is_asked_for(page: Path, scheme: str, ground: str) -> None:
    opened = open_page(page, LOOK, prefers_color_scheme=scheme)
    assert opened.complaints == []
    assert opened.requests == [page.as_uri()]
    seen = opened.value
    assert seen["drawn"] == seen["charts"] > 5
    assert all(seen["marks"])
    assert seen["ground"] == ground
    # The call that took longest is shown first.
    assert seen["call"].endswith(": 3 events")


def test_what_a_model_wrote_does_nothing(page: Path) -> None:
    seen = open_page(page, LOOK).value
    assert seen["title"] == "Tapeline: what was called, what it took, what it cost"
    assert seen["images"] == 0
    shown = json.dumps(seen["tables"], ensure_ascii=False)
    assert "\\\\x1b[2J" in shown
    assert "\u202e" not in shown


def test_tables_sort_by_what_figures_are(page: Path) -> None:
    rising, falling, told = open_page(page, SORT).value
    # What is not known stands last, whichever way.
    assert rising == ["7", "90", "1,200", "–"]
    assert falling == ["1,200", "90", "7", "–"]
    assert told == "descending"


def test_figures_on_the_page_are_those_of_json(page: Path, recorded: Path) -> None:
    shown = open_page(page, LOOK).value["tables"]
    names = [name for name in shown if name != "one-call"]
    assert len(names) > 10
    for name in names:
        told = json.loads(tapeline_here("report", name, "--data", recorded, "--format", "json").stdout)["rows"]
        assert len(shown[name]) == len(told)
        for cells, row in zip(shown[name], told, strict=True):
            figures = [(text, value) for text, value in zip(cells, row.values(), strict=True) if is_figure(value)]
            assert [as_read(text) for text, _ in figures] == pytest.approx([rounded(*pair) for pair in figures])


def is_figure(value: Any) -> bool:
    return isinstance(value, int | float)


def as_read(text: str) -> float:
    return float(text.replace(",", "").removesuffix(" %"))


def rounded(text: str, value: float) -> float:
    """The value to as many digits as the page gives it."""
    digits = len(text.removesuffix(" %").partition(".")[2])
    return round(value * 100 if text.endswith(" %") else value, digits)


def test_it_can_be_opened_at_once(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(click, "launch", opened.append)
    result = tapeline_here("report", "usage", "--data", recorded, "--open")
    assert (result.returncode, opened) == (0, [(recorded / "report.html").as_uri()]), result.stderr
    assert (recorded / "report.html").stat().st_mode & 0o077 == 0


def test_it_stands_on_a_phone(page: Path) -> None:
    assert open_page(page, LOOK, width=390).value["width"] <= 0
