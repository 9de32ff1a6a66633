"""Decides what of a recording is sent again, with which body and headers, and what of it was answered before.

A request that the recording does not hold whole is refused, with the reason: half of it, or one with names in the place
of credentials, would ask something else. Sending is `sending`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..apis.registry import api_of
from ..wire.base64_payloads import payload_ids
from ..wire.json_text import JsonObject, content_hash, dumps, loads

#: Headers that change what is answered; who asks, and how the body was packed, is said anew.
REPLAYED_HEADERS = ("accept", "anthropic-beta", "anthropic-version", "http-referer", "openai-beta", "x-title")
#: The header that says which request it was. Recorders keep it, and OpenAI's log has it.
MARK_HEADER = "x-client-request-id"
#: Statuses by which a server says that it did not take a request on, and that it may be sent again.
RETRIED_STATUSES = frozenset((429, 502, 503, 504))
# Outcomes of requests that were cut off before they were answered.
_UNANSWERED = frozenset(("client_aborted", "recorder_stopped", "unreachable"))
_MARK = re.compile(r"tapeline-([0-9a-f]{8})-.+")


@dataclass(frozen=True)
class Sending:
    """One request that is sent again."""

    row: JsonObject
    #: What it is known by in the new recording: the changes, the exchange, and which time it is sent.
    mark: str
    #: When it was sent, from the first one on.
    offset_seconds: float

    @property
    def headers(self) -> dict[str, str]:
        recorded = {header["name"]: header["value"] for header in self.row["request_headers"] or ()}
        kept = {name: value for name, value in recorded.items() if name in REPLAYED_HEADERS}
        return {"content-type": "application/json", **kept, MARK_HEADER: self.mark}


@dataclass(frozen=True)
class Refused:
    """One request that cannot be sent again, and why."""

    exchange_id: str
    reason: str


@dataclass
class Plan:
    """What is sent, in its order, and what is not."""

    changes: JsonObject
    #: JSON of what the requests hold, by its id.
    contents: Mapping[str, str]
    sendings: list[Sending] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    #: Requests that were made again in the recording, since the server did not take them on.
    repeated: int = 0

    def body_of(self, sending: Sending) -> bytes:
        """The request's body; made when it is needed, since a conversation repeats all of its history."""
        request = api_of(sending.row).rebuild_request(sending.row, self._content)
        return dumps(request | self.changes).encode()

    def _content(self, content_id: str) -> Any:
        json = self.contents.get(content_id)
        return None if json is None else loads(json)


def plan_replay(rows: Sequence[JsonObject], contents: Mapping[str, str], changes: JsonObject, repeat: int = 1) -> Plan:
    """Plan to send the requests of these rows, with some parameters changed, all of them so many times."""
    plan = Plan(changes, contents)
    made_again = _made_again(rows)
    kept = []
    for row in rows:
        if row["exchange_id"] in made_again:
            plan.repeated += 1
        elif (reason := _reason_against(row, contents)) is not None:
            plan.refused.append(Refused(row["exchange_id"], reason))
        else:
            kept.append(row)
    began = kept[0]["started_at"] if kept else None
    offsets = [(row["started_at"] - began).total_seconds() for row in kept]
    for number in range(repeat):
        for row, offset in zip(kept, offsets, strict=True):
            mark = f"tapeline-{_digest(changes)}-{row['exchange_id']}-{number + 1}"
            plan.sendings.append(Sending(row, mark, offset + number * offsets[-1]))
    return plan


def answered_marks(recorded: Iterable[JsonObject]) -> set[str]:
    """What the rows of the new recording show to be answered."""
    return {_mark_of(row) for row in recorded if is_answered(row["status_code"], row["outcome"])} - {""}


def has_other_changes(recorded: Iterable[JsonObject], changes: JsonObject) -> bool:
    """Whether a recording has requests that were sent with other changes than these."""
    marks = [_MARK.fullmatch(_mark_of(row)) for row in recorded]
    return any(mark is not None and mark.group(1) != _digest(changes) for mark in marks)


def is_answered(status: int | None, outcome: str = "") -> bool:
    """Whether an exchange is an answer, or is to be tried again."""
    return status is not None and status not in RETRIED_STATUSES and outcome not in _UNANSWERED


def _digest(changes: JsonObject) -> str:
    return content_hash(changes)[:8]


def _mark_of(row: JsonObject) -> str:
    values = (header["value"] for header in row["request_headers"] or () if header["name"] == MARK_HEADER)
    return next(values, "")


def _made_again(rows: Sequence[JsonObject]) -> set[str]:
    """Exchanges that the server did not take on, and that are followed by one that asks the same."""
    asked: set[tuple[str | None, bool | None]] = set()
    made_again = set()
    for row in reversed(rows):
        identity = (row["request_fingerprint"], row["stream"])
        if row["status_code"] in RETRIED_STATUSES and identity in asked:
            made_again.add(row["exchange_id"])
        if row["request_fingerprint"] is not None:
            asked.add(identity)
    return made_again


def _reason_against(row: JsonObject, contents: Mapping[str, str]) -> str | None:
    """Why a request cannot be sent, if it cannot."""
    if row["content_kept"] is False:
        return "it was recorded without content"
    if row["request_redactions"]:
        return f"names stand for credentials in it, {row['request_redactions']} times"
    if row["request_params"] is None:
        return "its body is no JSON object, or not all of it was kept"
    ids = {*(row["message_ids"] or ()), row["tools_id"], row["functions_id"]} - {None}
    if not ids <= contents.keys():
        return "messages or tools of it are not in the dataset"
    if not all(contents.keys() >= payload_ids(contents[content_id]) for content_id in ids):
        return "images, recordings or files of it are not in the dataset"
    return None
