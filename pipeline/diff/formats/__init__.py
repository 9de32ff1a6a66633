"""The output formats of a comparison, by name; a format is loaded when it is used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..result import Result

_MODULES = {
    "table": "table_report",
    "json": "json_report",
    "markdown": "markdown_report",
    "html": "html_report",
    "junit": "junit_report",
}
#: Names of the formats; the first is the default.
FORMATS = tuple(_MODULES)


def format_result(name: str, result: Result) -> str:
    """Return a comparison as text in a format."""
    write: Callable[[Result], str] = import_module(f".{_MODULES[name]}", __package__).write
    return write(result)
