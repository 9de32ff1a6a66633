"""A comparison in each format. TAPELINE_RENEW=1 writes the golden files again; review them as a diff."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from tests.support.journals.comparison import STORY, asked, make_recordings, make_run
from tests.support.places import DATA
from tests.support.processes.recorder import TAPELINE, clean_environment, tapeline_here

from tapeline.pipeline.diff.formats.markdown_report import MOST_CHARACTERS

pytestmark = pytest.mark.slow

GOLDEN = DATA / "golden"
FORMATS = {"table": "txt", "json": "json", "markdown": "md", "html": "html", "junit": "xml"}
RULES = "outcome,tool_calls>50%,completion_tokens>5%,p95_total>20%,cost>5%"
ACTING = set("\x1b\x07\x00\u202e\x9b")
SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("comparison") / "data"
    make_recordings(data)
    return data


def print_table(data: Path, format_name: str, *options: str) -> str:
    result = tapeline_here("diff", "before", "after", "--data", data, "--format", format_name, *options)
    assert result.returncode in (0, 1), result.stderr
    return result.stdout


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_format_equals_its_golden_file(recordings: Path, format_name: str) -> None:
    path = GOLDEN / f"diff.{FORMATS[format_name]}"
    text = print_table(recordings, format_name, "--fail-on", RULES)
    if os.environ.get("TAPELINE_RENEW"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


@pytest.mark.parametrize("format_name", FORMATS)
def test_no_format_holds_control_characters(recordings: Path, format_name: str) -> None:
    text = print_table(recordings, format_name)
    assert not set(text) & ACTING
    if format_name == "json":
        # JSON escapes control characters, so a reader gets the original text back.
        assert any("\x1b]0;owned" in (pair.get("question") or "") for pair in json.loads(text)["differing"])


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_number_of_pairs_that_are_not_shown_is_named(recordings: Path, format_name: str) -> None:
    text = print_table(recordings, format_name, "--limit", "1")
    if format_name == "json":
        assert sum("texts" in pair for pair in json.loads(text)["differing"]) == 1
    elif format_name == "junit":
        assert text.count("prompt: ") == 1
        assert text.count("<failure") == 10
    else:
        assert "Changed pairs that are not shown: 9;" in text


def test_json_names_every_pair_that_differs(recordings: Path) -> None:
    document = json.loads(print_table(recordings, "json", "--limit", "0"))
    assert list(document) == [
        "base",
        "candidate",
        "match",
        "pairs",
        "changed",
        "basis",
        "kinds",
        "figures",
        "rules",
        "differing",
        "unpaired",
    ]
    assert sum(pair["changed"] for pair in document["differing"]) == document["changed"] == 10
    assert len(document["differing"]) == 14


def test_markdown_fits_a_comment_and_counts_what_it_leaves_out(data: Path) -> None:
    long = " ".join(STORY.split() * 60)
    make_run(data, "before", [asked(str(n), f"{n} {long}") for n in range(60)], 1)
    make_run(data, "after", [asked(str(n), f"{long[::-1]} {n}") for n in range(60)], 2)
    text = print_table(data, "markdown", "--limit", "60")
    assert MOST_CHARACTERS * 0.8 < len(text) <= MOST_CHARACTERS + 200
    shown = text.count("<summary>") - 1
    assert 5 < shown < 60
    assert f"Changed pairs that are not shown: {60 - shown};" in text
    assert text.count("<details>") == text.count("</details>") == shown + 1


def test_markdown_does_not_interpret_recorded_text(recordings: Path) -> None:
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(print_table(recordings, "markdown"))
    seen = _Elements()
    seen.feed(page)
    assert not seen.elements & {"script", "img", "a", "strong", "em"}
    assert {"details", "summary", "pre", "ins", "del", "table", "code"} <= seen.elements
    assert seen.outside_pre.count("@everyone") == 0


class _Elements(HTMLParser):
    """Collects the elements of a page, and its text outside `pre` and `code`."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.outside_pre = ""
        self._inside = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self._inside += tag in ("pre", "code")

    def handle_endtag(self, tag: str) -> None:
        self._inside -= tag in ("pre", "code")

    def handle_data(self, data: str) -> None:
        self.outside_pre += data if not self._inside else ""


def test_the_counts_of_junit_are_right(recordings: Path) -> None:
    root = ElementTree.fromstring(print_table(recordings, "junit", "--fail-on", RULES))
    rules, pairs = root.findall("testsuite")
    for suite in (rules, pairs):
        for tag, count in (("testcase", "tests"), ("testcase/failure", "failures"), ("testcase/skipped", "skipped")):
            assert len(suite.findall(tag)) == int(suite.attrib[count]), tag
    assert [case.attrib["name"] for case in rules] == RULES.split(",")
    assert (pairs.attrib["tests"], pairs.attrib["failures"], pairs.attrib["skipped"]) == ("40", "1", "2")
    without_rules = ElementTree.fromstring(print_table(recordings, "junit"))
    (alone,) = without_rules.findall("testsuite")
    assert alone.attrib["failures"] == "10"


def on_terminal(data: Path, **environment: str) -> str:
    """Return what the command prints on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
    command = [*TAPELINE, "diff", "before", "after", "--data", str(data), "--fail-on", RULES]
    env = clean_environment(TERM="xterm-256color", **environment)
    env = {name: value for name, value in env.items() if name != "COLUMNS"}
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=env) as process:
        os.close(theirs)
        output = b""
        while chunk := _read(ours):
            output += chunk
        assert process.wait(60) == 1
    os.close(ours)
    return output.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # The other end was closed.
        return b""


def test_a_terminal_shows_words_in_colour(recordings: Path) -> None:
    shown = on_terminal(recordings)
    assert "\x1b[9;31msilent night" in shown
    assert "\x1b[32mnoisy day" in shown
    assert "[-" not in shown
    assert "{+" not in shown
    assert not set(SGR.sub("", shown)) & ACTING
    assert max(map(len, SGR.sub("", shown).splitlines())) <= 80


def test_without_colours_marks_show_the_changes(recordings: Path) -> None:
    shown = on_terminal(recordings, NO_COLOR="1")
    assert "[-silent night-] {+noisy day+}" in " ".join(SGR.sub("", shown).split())
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", shown)
