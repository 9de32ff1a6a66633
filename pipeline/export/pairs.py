"""JSON Lines of requests and their answers: each line is what `tapeline show --json` prints of an exchange."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..describe import document
from .selection import Count, Exchange, json_line


def lines(exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """A line an exchange; none is left out."""
    for exchange in exchanges:
        count.exported += 1
        yield json_line(document(exchange.row, exchange.request, exchange.response))
