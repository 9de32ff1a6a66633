"""How much is measured: everything in eleven minutes, or a sample of everything in two."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from tests.bench.figures import Figure


@dataclass(frozen=True)
class Plan:
    """How long, how often and on how much data is measured."""

    is_quick: bool
    with_peers: bool
    #: Rounds: of turns in capture, of loads, of reports.
    pairs: int
    load_pairs: int
    report_pairs: int
    turn_seconds: float
    warm_up_seconds: float
    paced_seconds: float
    clients: tuple[int, ...]
    #: The factors of growth.
    times: tuple[int, ...]
    #: Stored calls: chats, turns of an agent, conversations about an image.
    stored: tuple[int, int, int]
    #: Exchanges of the generated datasets: for reports, and for loading.
    rows: int
    load_rows: int
    with_content: bool
    #: The goal for a report on so many exchanges.
    report_seconds: float

    def chosen[T](self, choices: Sequence[T]) -> Sequence[T]:
        """Return all of them, or the first and the last if the plan is quick."""
        return (choices[0], choices[-1]) if self.is_quick else choices

    def with_turns(self, turn_seconds: float, pairs: int) -> Self:
        return replace(self, turn_seconds=turn_seconds, pairs=max(pairs, 2))

    def show(self, *figures: Figure) -> None:
        """Print figures as soon as they are measured."""
        for figure in figures:
            sys.stderr.write("  ".join(cell for cell in figure.cells() if cell) + "\n")


def whole(*, with_peers: bool, rows: int) -> Plan:
    """Return the plan to measure everything; reports on 10 M exchanges may take eight times as long as on 1 M."""
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
    """Return the plan to measure a sample of everything."""
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
