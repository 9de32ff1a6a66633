"""Compares the books with what was recorded: what is there twice, what is lost, what nobody sent, and what came late.

One rule decides what may be missing: nothing that happened longer before a kill of its recorder than `KEPT_SECONDS`,
and nothing at all where it was stopped in order. An exchange begins, gets bytes and ends; the first of these that its
row lacks says how late the recorder was.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.torture.answers import kind_of, request_body, text_within
from tests.torture.books import Books, Entry

#: What a kill may cost, as the documentation says it.
KEPT_SECONDS = 0.2
CUT = "recorder_stopped"

#: Every exchange as it is recorded; the marker is in the request's `user-agent`.
ROWS = """
SELECT
  replace(user_agent, 'torture/', '') AS marker, outcome, response_bytes, request_bytes,
  choices[1].content AS text, reassembly_problems
FROM exchanges
"""
#: Messages that some exchange names and `content` lacks.
WITHOUT_CONTENT = """
SELECT count(*) AS n FROM (SELECT unnest(message_ids) AS content_id FROM exchanges) ANTI JOIN content USING (content_id)
"""


@dataclass
class Verdict:
    """What the comparison found."""

    exchanges: int = 0
    found: int = 0
    doubled: int = 0
    lost: int = 0
    #: Begun so shortly before the end of their recorder that they need not be there, and are not.
    excused: int = 0
    partial: int = 0
    worst_lag: float = 0.0
    problems: list[str] = field(default_factory=list)

    def table(self, kills: Counter[str]) -> str:
        """The verdict for people."""
        rows = [(f"kills of {kind}", str(number)) for kind, number in sorted(kills.items())]
        rows += [
            ("kills", str(kills.total())),
            ("exchanges before", f"{self.exchanges:,}"),
            ("found", f"{self.found:,}"),
            ("doubled", str(self.doubled)),
            ("lost", str(self.lost)),
            ("begun in the last moments", str(self.excused)),
            ("partial streams kept", f"{self.partial:,}"),
            ("worst lag", f"{self.worst_lag * 1000:.0f} ms"),
            ("problems", str(len(self.problems))),
        ]
        return "\n".join(f"{name:<32}{value:>12}" for name, value in rows)


def compare(books: Books, rows: list[dict[str, Any]], kept_seconds: float = KEPT_SECONDS) -> Verdict:
    """Hold every exchange of the books against its rows."""
    verdict = Verdict(exchanges=len(books.entries), found=len(rows))
    by_marker: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_marker.setdefault(row["marker"], []).append(row)
    known = {entry.marker for entry in books.entries}
    verdict.problems += [f"{marker}: nobody sent it" for marker in by_marker.keys() - known]
    verdict.problems += [f"{marker}: asked {times} times" for marker, times in books.asked.items() if times > 1]
    for entry in books.entries:
        found = by_marker.get(entry.marker, [])
        if len(found) > 1:
            verdict.doubled += 1
            verdict.problems.append(f"{entry.marker}: {len(found)} rows")
        for row in found:
            verdict.problems += [f"{entry.marker}: {problem}" for problem in _invented(entry, row)]
            verdict.partial += row["outcome"] == CUT and bool(row["text"])
        _compare_times(books, entry, found[0] if found else None, kept_seconds, verdict)
    return verdict


def _compare_times(
    books: Books, entry: Entry, row: dict[str, Any] | None, kept_seconds: float, verdict: Verdict
) -> None:
    since = _missing_since(entry, row)
    if since is None:
        return
    lag = books.end_of(entry.life) - since
    killed = entry.life in books.killed_at
    if killed:
        verdict.worst_lag = max(verdict.worst_lag, lag)
    if lag > (kept_seconds if killed else 0):
        verdict.lost += 1
        verdict.problems.append(f"{entry.marker}: lacks what came {lag * 1000:.0f} ms before the end: {row}")
    elif row is None:
        verdict.excused += 1


def _missing_since(entry: Entry, row: dict[str, Any] | None) -> float | None:
    """When the first thing happened that the row lacks; None where it lacks nothing."""
    if row is None:
        return entry.asked_at
    for at, size in entry.received:
        if size > row["response_bytes"]:
            return at
    expected = kind_of(entry.marker).outcome
    return entry.ended_at if row["outcome"] != expected else None


def _invented(entry: Entry, row: dict[str, Any]) -> list[str]:
    """What the row says and was not so."""
    problems = [*row["reassembly_problems"]]
    if row["outcome"] not in (kind_of(entry.marker).outcome, CUT):
        problems.append(f"ended as {row['outcome']}")
    if row["text"] != text_within(entry.marker, row["response_bytes"]) and (row["text"] or row["response_bytes"]):
        problems.append(f"{row['response_bytes']} bytes are not the text {row['text']!r}")
    if row["outcome"] != CUT and row["request_bytes"] != len(request_body(entry.marker)):
        problems.append(f"the request has {row['request_bytes']} bytes")
    return problems
