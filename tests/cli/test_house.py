"""Limits that keep the repository readable: short files and functions, few modules at the top."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.support.places import ROOT

CODE = ("addons", "pipeline")
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
MEDIAN_FUNCTION = range(6, 13)
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
