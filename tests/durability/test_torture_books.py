"""The comparison that judges kills: it finds what is lost, doubled, late or invented, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.torture.answers import answer_pieces, kind_of, request_body, text_within
from tests.torture.books import Books, Entry
from tests.torture.comparing import CUT, KEPT_SECONDS, compare

KILLED_AT = 100.0
LONG_AGO = 90.0
JUST_NOW = KILLED_AT - KEPT_SECONDS / 2
Change = Callable[[dict[str, Any]], list[dict[str, Any]]]


def books_of(kind: str, ended_at: float) -> tuple[Books, Entry]:
    """One exchange that came to its end, through a recorder that was killed later."""
    books = Books()
    books.killed_at[0] = KILLED_AT
    entry = books.open_entry(kind, 0, LONG_AGO)
    for piece in answer_pieces(entry.marker):
        entry.note_bytes(ended_at, len(piece))
    entry.ended_at = ended_at
    return books, entry


def row_of(entry: Entry, size: int | None = None) -> dict[str, Any]:
    """How the exchange is recorded, or so many bytes of it."""
    whole = sum(map(len, answer_pieces(entry.marker)))
    received = whole if size is None else size
    return {
        "marker": entry.marker,
        "outcome": kind_of(entry.marker).outcome if received == whole else CUT,
        "response_bytes": received,
        "request_bytes": len(request_body(entry.marker)),
        "text": text_within(entry.marker, received),
        "reassembly_problems": [],
    }


@pytest.mark.parametrize("kind", ["plain", "refused", "stream"])
def test_what_is_there_once_and_whole_is_no_problem(kind: str) -> None:
    books, entry = books_of(kind, LONG_AGO)
    verdict = compare(books, [row_of(entry)])
    assert (verdict.problems, verdict.exchanges, verdict.found, verdict.worst_lag) == ([], 1, 1, 0.0)


@pytest.mark.parametrize("rows", [[], ["part"], ["cut"]], ids=["missing", "a part", "without its end"])
def test_what_is_missing_is_lost_if_it_came_long_before_the_kill(rows: list[str]) -> None:
    for ended_at, lost in ((LONG_AGO, 1), (JUST_NOW, 0)):
        books, entry = books_of("stream", ended_at)
        entry.asked_at = ended_at
        first = len(answer_pieces(entry.marker)[0])
        found = {"part": row_of(entry, first), "cut": row_of(entry) | {"outcome": CUT}}
        verdict = compare(books, [found[name] for name in rows])
        assert (verdict.lost, len(verdict.problems)) == (lost, lost)
        assert verdict.excused == (1 if not rows and not lost else 0)
        assert verdict.worst_lag == pytest.approx(KILLED_AT - ended_at)
        assert verdict.partial == len(rows)


def test_nothing_may_be_missing_where_the_recorder_was_stopped_in_order() -> None:
    books, _ = books_of("plain", JUST_NOW)
    books.stopped_at[0] = books.killed_at.pop(0)
    verdict = compare(books, [])
    assert (verdict.lost, verdict.worst_lag) == (1, 0.0)


WRONG: dict[str, Change] = {
    "twice": lambda row: [row, row],
    "another text": lambda row: [row | {"text": f"{row['text']}?"}],
    "another outcome": lambda row: [row | {"outcome": "upstream_aborted"}],
    "another request": lambda row: [row | {"request_bytes": 1}],
    "not read": lambda row: [row | {"reassembly_problems": ["an event is no JSON"]}],
    "of nobody": lambda row: [row, row | {"marker": "stream-999999"}],
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_was_not_so_is_a_problem(change: Change) -> None:
    books, entry = books_of("stream", JUST_NOW)
    verdict = compare(books, change(row_of(entry)))
    assert verdict.problems
    assert verdict.doubled == (1 if change is WRONG["twice"] else 0)


def test_a_request_that_reaches_the_provider_twice_is_a_problem() -> None:
    books, entry = books_of("plain", LONG_AGO)
    for _ in range(2):
        books.note_asked(entry.marker)
    assert compare(books, [row_of(entry)]).problems == [f"{entry.marker}: asked 2 times"]
