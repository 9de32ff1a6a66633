"""JSON Lines of requests and their answers: each line is what `tapeline show --json` prints of an exchange."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..describe import document
from ..render import json_text
from .selection import Count, Exchange


def lines(exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """A line an exchange; none is left out."""
    for exchange in exchanges:
        count.exported += 1
        yield json_text(document(exchange.row, exchange.request, exchange.response)) + "\n"
