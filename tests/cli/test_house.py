"""The limits that keep the house readable: short files, short functions, few modules at the top."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.support.places import ROOT

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
USUAL_LINES_OF_A_FUNCTION = range(6, 13)
MOST_MODULES_AT_THE_TOP = 4


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of each function in a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.name}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_files_are_short() -> None:
    sizes = {
        path.name: len(path.read_text("utf-8").splitlines()) for path in python_files("addons", "pipeline", "tests")
    }
    assert {name: size for name, size in sizes.items() if size > MOST_LINES_OF_A_FILE} == {}


def test_functions_are_short() -> None:
    sizes = dict(found for path in python_files("addons", "pipeline", "tests") for found in functions(path))
    assert {name: size for name, size in sizes.items() if size > MOST_LINES_OF_A_FUNCTION} == {}
    ours = [size for path in python_files("addons", "pipeline") for _, size in functions(path)]
    assert median(ours) in USUAL_LINES_OF_A_FUNCTION


def test_few_modules_stand_at_the_top() -> None:
    modules = {path.name for path in (ROOT / "pipeline").glob("*.py")} - {"__init__.py"}
    assert len(modules) <= MOST_MODULES_AT_THE_TOP
