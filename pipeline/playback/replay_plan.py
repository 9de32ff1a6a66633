"""Plans which requests of a recording are sent again, with which body and headers, and which are answered already.

A request that is incomplete in the recording is refused, with the reason: without some of its messages, or with names
in place of credentials, it would be another request. `sender` sends the plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..apis.registry import api_of
from ..apis.rows import ExchangeRow, WarehouseRow
from ..errors import UsageError
from ..warehouse.exchanges import content_ids
from ..wire.base64_payloads import payload_ids
from ..wire.json_text import NOT_JSON, JsonObject, content_hash, dumps, loads

#: Recorded headers that change the response. The replay sends its own headers for authorization, client and framing.
REPLAYED_HEADERS = ("accept", "anthropic-beta", "anthropic-version", "http-referer", "openai-beta", "x-title")
#: The header that carries a request's mark. Recorders keep it, and it appears in OpenAI's log.
MARK_HEADER = "x-client-request-id"
#: Statuses that mean: the server did not process the request, and it may be sent again.
RETRIED_STATUSES = frozenset((429, 502, 503, 504))
#: Refused requests that are named one by one.
MOST_NAMED = 20
# Outcomes of requests that were cut off before they were answered.
_UNANSWERED = frozenset(("client_aborted", "recorder_stopped", "unreachable"))
_MARK = re.compile(r"tapeline-([0-9a-f]{8})-.+")


@dataclass(frozen=True)
class PlannedRequest:
    """One request that is to be sent again."""

    row: WarehouseRow
    #: Identifies the request in the new recording: a hash of the changes, the exchange, and the round of `repeat`.
    mark: str
    #: Seconds between the first recorded request and this one.
    offset_seconds: float

    @property
    def headers(self) -> dict[str, str]:
        recorded = {header["name"]: header["value"] for header in self.row["request_headers"] or ()}
        kept = {name: value for name, value in recorded.items() if name in REPLAYED_HEADERS}
        return {"content-type": "application/json", **kept, MARK_HEADER: self.mark}


@dataclass(frozen=True)
class RefusedRequest:
    """One request that cannot be sent again, and the reason."""

    exchange_id: str
    reason: str


@dataclass
class ReplayPlan:
    """The requests to send, in order, and those that are not sent."""

    changes: JsonObject
    #: JSON of the messages, tools and payloads of the requests, by id.
    contents: Mapping[str, str]
    requests: list[PlannedRequest] = field(default_factory=list)
    refused: list[RefusedRequest] = field(default_factory=list)
    #: Requests that the server did not process and the client sent again while recording: only the last one counts.
    repeated: int = 0

    def body_of(self, planned: PlannedRequest) -> bytes:
        """Return a request's body. It is made on demand, because a conversation repeats all of its history."""
        request = api_of(planned.row).rebuild_request(planned.row, self._content)
        return dumps(request | self.changes).encode()

    def not_sent(self) -> list[str]:
        """Return a line for each request that is not sent, up to `MOST_NAMED`, and the number of the rest."""
        lines = [f"Not sent: {refused.exchange_id}: {refused.reason}." for refused in self.refused[:MOST_NAMED]]
        if (more := len(self.refused) - MOST_NAMED) > 0:
            lines.append(f"Not sent: {more:,} more.")
        if self.repeated:
            lines.append(f"Not sent: {self.repeated:,} that the server did not process and the client sent again.")
        return lines

    def _content(self, content_id: str) -> Any:
        json = self.contents.get(content_id)
        return None if json is None else loads(json)


def read_changes(model: str | None, settings: Iterable[str]) -> JsonObject:
    """Read the parameters to change from NAME=VALUE texts; a value that is not JSON is a text. Raises UsageError."""
    changes: JsonObject = {} if model is None else {"model": model}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not name or not equals:
            raise UsageError(f"--set {setting!r} is not NAME=VALUE, such as temperature=0.")
        value = loads(text)
        changes[name] = text if value is NOT_JSON else value
    return changes


def plan_replay(
    rows: Sequence[WarehouseRow], contents: Mapping[str, str], changes: JsonObject, repeat: int = 1
) -> ReplayPlan:
    """Plan to send the requests of these rows, with some parameters changed, `repeat` times each."""
    plan = ReplayPlan(changes, contents)
    repeated = _repeated_exchanges(rows)
    sendable = []
    for row in rows:
        if row["exchange_id"] in repeated:
            plan.repeated += 1
        elif (reason := _reason_against(row, contents)) is not None:
            plan.refused.append(RefusedRequest(row["exchange_id"], reason))
        else:
            sendable.append(row)
    offsets = [(row["started_at"] - sendable[0]["started_at"]).total_seconds() for row in sendable]
    for number in range(repeat):
        for row, offset in zip(sendable, offsets, strict=True):
            mark = f"tapeline-{_digest(changes)}-{row['exchange_id']}-{number + 1}"
            plan.requests.append(PlannedRequest(row, mark, offset + number * offsets[-1]))
    return plan


def answered_marks(recorded: Iterable[JsonObject]) -> set[str]:
    """Return the marks of the requests that are answered in the rows of the new recording."""
    return {_mark_of(row) for row in recorded if is_answered(row["status_code"], row["outcome"])} - {""}


def has_other_changes(recorded: Iterable[JsonObject], changes: JsonObject) -> bool:
    """Return whether a recording has replayed requests with other changes than these."""
    marks = [_MARK.fullmatch(_mark_of(row)) for row in recorded]
    return any(mark is not None and mark.group(1) != _digest(changes) for mark in marks)


def is_answered(status: int | None, outcome: str = "") -> bool:
    """Return whether an exchange counts as answered; otherwise its request is to be sent again."""
    return status is not None and status not in RETRIED_STATUSES and outcome not in _UNANSWERED


def _digest(changes: JsonObject) -> str:
    return content_hash(changes)[:8]


def _mark_of(row: JsonObject) -> str:
    values = (header["value"] for header in row["request_headers"] or () if header["name"] == MARK_HEADER)
    return next(values, "")


def _repeated_exchanges(rows: Sequence[WarehouseRow]) -> set[str]:
    """Return the exchanges that the server did not process and that a later exchange with the same request repeats."""
    later: set[tuple[str | None, bool | None]] = set()
    repeated = set()
    for row in reversed(rows):
        identity = (row["request_fingerprint"], row["stream"])
        if row["status_code"] in RETRIED_STATUSES and identity in later:
            repeated.add(row["exchange_id"])
        if row["request_fingerprint"] is not None:
            later.add(identity)
    return repeated


def _reason_against(row: ExchangeRow, contents: Mapping[str, str]) -> str | None:
    """Return why a request cannot be sent again; None if it can."""
    if row["content_kept"] is False:
        return "it was recorded without content"
    if row["request_redactions"]:
        return f"names stand for credentials in it, {row['request_redactions']} times"
    if row["request_params"] is None:
        return "its body is not a JSON object, or was not recorded in full"
    ids = content_ids(row)
    if not ids <= contents.keys():
        return "messages or tools of it are not in the dataset"
    if not all(contents.keys() >= payload_ids(contents[content_id]) for content_id in ids):
        return "images, recordings or files of it are not in the dataset"
    return None
