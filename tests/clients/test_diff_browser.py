"""The page of a comparison in a real browser: no error, no request, and no script."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clients.browser import open_page
from tests.support.journals.comparison import HOSTILE, make_recordings
from tests.support.processes.recorder import tapeline_here

pytestmark = pytest.mark.slow

LOOK = """({
    scripts: document.scripts.length,
    images: document.images.length,
    links: document.links.length,
    prompts: [...document.querySelectorAll('.prompt .text')].map(element => element.textContent),
    removed: document.querySelectorAll('del').length,
    added: document.querySelectorAll('ins').length,
    ground: getComputedStyle(document.body).backgroundColor,
    columns: getComputedStyle(document.querySelector('.sides')).gridTemplateColumns.split(' ').length,
})"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    make_recordings(folder / "data")
    result = tapeline_here(
        "diff", "before", "after", "--data", folder / "data", "--format", "html", "-o", folder / "page.html"
    )
    assert result.returncode == 0, result.stderr
    return folder / "page.html"


@pytest.mark.parametrize(("scheme", "ground"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 26)")])
def test_the_page_loads_nothing_else_in_light_and_dark(page: Path, scheme: str, ground: str) -> None:
    opened = open_page(page, LOOK, prefers_color_scheme=scheme)
    assert opened.complaints == []
    assert opened.requests == [page.as_uri()]
    assert (opened.value["scripts"], opened.value["images"], opened.value["links"]) == (0, 0, 0)
    assert opened.value["ground"] == ground
    assert opened.value["columns"] == 2
    assert opened.value["removed"] > 3
    assert opened.value["added"] > 3


def test_hostile_text_is_shown_as_text(page: Path) -> None:
    prompts = open_page(page, LOOK).value["prompts"]
    start = "hostile " + HOSTILE.split("\x1b")[0]
    assert any(text.startswith(start) for text in prompts)
    assert "\\x1b" in "".join(prompts)
    assert not set("".join(prompts)) & set("\x1b\x07\u202e")


def test_the_policy_stops_a_script_that_got_past_the_escaping(page: Path, tmp_path: Path) -> None:
    injected = "<script>document.title = 'run'</script><img src='http://127.0.0.1:9/x' onerror='document.title = 1'>"
    hostile = tmp_path / "hostile.html"
    hostile.write_text(page.read_text("utf-8").replace("<body>", f"<body>{injected}"), "utf-8")
    opened = open_page(hostile, "document.title")
    assert opened.value == "before – after"
    assert opened.blocked == ["csp"]
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)
