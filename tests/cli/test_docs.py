"""README.md and docs/ agree with the code: links, folders, rules of imports, tests and options that they name."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tapeline.pipeline.cli.main import tapeline
from tests.support.places import ROOT

DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
MOST_LINES_OF_THE_README = 200
MOST_BYTES_OF_THE_SCREENSHOT = 200_000
ARCHITECTURE = (DOCS / "architecture.md").read_text("utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and Sphinx make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_and_its_screenshot_are_small() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= MOST_LINES_OF_THE_README
    assert (DOCS / "images" / "report.png").stat().st_size < MOST_BYTES_OF_THE_SCREENSHOT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", without_code(page.read_text("utf-8")))
    targets = [((page.parent / path) if path else page, anchor) for path, anchor in links]
    assert [str(path) for path, _ in targets if not path.is_file()] == []
    assert [(str(path), anchor) for path, anchor in targets if anchor and anchor not in anchors(path)] == []


def test_the_readme_links_to_the_docs() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    linked = set(re.findall(r"\]\(docs/([\w-]+)\.md", text))
    assert len(linked) > 10


def test_every_page_is_in_the_contents() -> None:
    contents = (DOCS / "index.md").read_text("utf-8").splitlines()
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert pages <= set(contents)


def test_every_folder_of_the_code_is_described() -> None:
    files = [path for top in ("addons", "pipeline", "queries") for path in (ROOT / top).rglob("*.*")]
    folders = {path.parent.relative_to(ROOT) for path in files if path.suffix in (".py", ".sql", ".cjs")}
    assert {f"{folder}/" for folder in folders} == set(re.findall(r"^\| `([a-z_/]+/)` \|", ARCHITECTURE, re.MULTILINE))


def test_the_layers_are_those_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (walk,) = (contract for contract in contracts if contract["name"] == "the layers of the pipeline")
    assert "\n".join(walk["layers"]) in ARCHITECTURE


def test_the_tests_that_hold_promises_are_there() -> None:
    patterns = re.findall(r"`(tests/[\w/*.]+)`", ARCHITECTURE)
    assert len(patterns) > 20
    assert [pattern for pattern in patterns if not any(ROOT.glob(pattern))] == []


def command_lines(page: Path) -> Iterator[list[str]]:
    """Yield the words of each `tapeline` command in a page's code blocks."""
    for block in re.findall(r"^```\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if match := re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*tapeline (.+)$", line):
                yield shlex.split(match[1].partition(" | ")[0], comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    for name, *words in command_lines(page):
        if name == "COMMAND":
            continue
        command = tapeline.commands[name]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        own = words[: words.index("--")] if "--" in words else words
        used = {word.partition("=")[0] for word in own if re.match(r"--?[a-z]", word)}
        assert used <= known | set(click.Context(command).help_option_names), (name, words)
