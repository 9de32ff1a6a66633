"""The formats of a comparison, by name; each is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

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
    """A comparison as text in the format of that name."""
    write: Callable[[Result], str] = import_module(f".{_MODULES[name]}", __package__).write
    return write(result)
