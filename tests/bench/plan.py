"""How much is measured: all of it in ten minutes, or a glimpse of everything in a minute and a half."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from tests.bench.figures import Figure


@dataclass(frozen=True)
class Plan:
    """How long, how often, how many."""

    is_quick: bool
    with_peers: bool
    #: Of turns in capture, of loads, of reports.
    pairs: int
    load_pairs: int
    report_pairs: int
    turn_seconds: float
    warm_up_seconds: float
    paced_seconds: float
    clients: tuple[int, ...]
    #: How many times as much there is, where growth is measured.
    times: tuple[int, ...]
    #: Calls that are stored: chats, turns of an agent, conversations about an image.
    stored: tuple[int, int, int]
    #: Exchanges of the made datasets: for reports, and for loading.
    rows: int
    load_rows: int
    with_content: bool
    #: What a report may take on so many.
    report_seconds: float

    def chosen[T](self, choices: Sequence[T]) -> Sequence[T]:
        """All of them, or the first and the last."""
        return (choices[0], choices[-1]) if self.is_quick else choices

    def with_turns(self, turn_seconds: float, pairs: int) -> Self:
        return replace(self, turn_seconds=turn_seconds, pairs=max(pairs, 2))

    def say(self, figure: Figure) -> None:
        """Tell what was found as soon as it is."""
        sys.stderr.write("  ".join(cell for cell in figure.cells() if cell) + "\n")


def whole(*, with_peers: bool, rows: int) -> Plan:
    """Everything; reports on 10 M exchanges may take eight times what they may take on 1 M."""
    return Plan(
        is_quick=False,
        with_peers=with_peers,
        pairs=11,
        load_pairs=5,
        report_pairs=5,
        turn_seconds=0.25,
        warm_up_seconds=0.4,
        paced_seconds=0.6,
        clients=(1, 16, 128),
        times=(1, 10, 100),
        stored=(1000, 200, 8),
        rows=rows,
        load_rows=200_000,
        with_content=rows <= 1_000_000,
        report_seconds=1.0 if rows <= 1_000_000 else 8.0,
    )


def quick(*, with_peers: bool) -> Plan:
    """A glimpse."""
    return replace(
        whole(with_peers=with_peers, rows=20_000),
        is_quick=True,
        pairs=5,
        load_pairs=2,
        report_pairs=2,
        turn_seconds=0.1,
        warm_up_seconds=0.1,
        paced_seconds=0.3,
        clients=(16,),
        times=(1, 10),
        stored=(200, 20, 2),
        load_rows=20_000,
    )
