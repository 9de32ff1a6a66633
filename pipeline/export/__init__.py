"""Writes exchanges in formats that other programs read, with a module for each family of formats.

`selection` yields whole exchanges, a few at a time. What a format has no place for is left out and counted, never
changed into something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .selection import Count, Exchange

    Writer = Callable[[Iterable[Exchange], Count], Iterator[str]]

#: Formats of text: the module and its function that writes them.
_WRITERS = {
    "pairs": ("jsonl", "pair_lines"),
    "finetune": ("jsonl", "finetune_lines"),
    "batch": ("jsonl", "batch_lines"),
    "har": ("har", "archive_parts"),
}
#: The format that is sent to a collector, not written.
SPANS = "otlp"
#: Names of all formats; the first is the default.
FORMATS = (*_WRITERS, SPANS)
#: Formats that include the cost of an exchange.
WITH_COSTS = ("pairs",)


def text_parts(format_name: str, exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """Yield the exchanges as text in a format, part by part; `count` counts those exported and those left out."""
    module, function = _WRITERS[format_name]
    writer: Writer = getattr(import_module(f".{module}", __package__), function)
    return writer(exchanges, count)
