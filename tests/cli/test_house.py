"""Limits that keep the repository readable: short files and functions, few modules at the top, a short README."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.support.places import ROOT

CODE = ("addons", "pipeline")
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
MEDIAN_FUNCTION = range(6, 13)
LONGEST_README = 200
MOST_MODULES_AT_THE_TOP = 4


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of lines of each function in a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_files_are_short() -> None:
    files = python_files(*CODE, "tests")
    lines = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in files}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    lines = [function for path in python_files(*CODE, "tests") for function in functions(path)]
    assert [(name, count) for name, count in lines if count > LONGEST_FUNCTION] == []
    assert median(count for path in python_files(*CODE) for _, count in functions(path)) in MEDIAN_FUNCTION


def test_the_top_of_the_pipeline_has_few_modules() -> None:
    modules = {path.name for path in (ROOT / "pipeline").glob("*.py")} - {"__init__.py"}
    assert len(modules) <= MOST_MODULES_AT_THE_TOP


def test_the_readme_is_short_and_its_links_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST_README
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    assert len(targets) > 10
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = (ROOT / "docs" / "index.md").read_text("utf-8").splitlines()
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages <= set(contents)
