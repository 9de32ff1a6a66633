"""Finds the recorded exchange that answers a request, and says what was nearest where there is none.

Requests are the same if their fingerprints are. One that was asked more than once is answered in the recorded order,
then with the last answer again; where it was asked in several manners (streamed or not, of several hosts), what was
asked in the manner of the request at hand comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from ..apis.base import Api, ParsedRequest
from ..apis.registry import api_for_path, api_of
from ..wire.json_text import JsonObject, dumps, loads
from ..wire.redaction import UnsaltedRedactor

_QUOTED_CHARACTERS = 120
# What two texts have in common before they differ is shown so far.
_SHOWN_BEFORE = 20
_MOST_PARAMETERS = 8
_LISTS = {"tools_id": "tools", "functions_id": "functions"}
_NOT_SAID = object()


@dataclass(frozen=True)
class RequestContext:
    """How a request was made, beyond what it asks, the weightiest first."""

    streamed: bool
    host: str
    path: str
    #: JSON of the parameters that change no answer.
    volatile: str

    def similarity(self, other: RequestContext) -> tuple[bool, ...]:
        """What is the same in both."""
        names = ("streamed", "host", "path", "volatile")
        return tuple(getattr(self, name) == getattr(other, name) for name in names)


@dataclass(frozen=True)
class IncomingRequest:
    """A request that is looked for, as it came and with names that need no salt for the credentials in it."""

    question: ParsedRequest
    without_credentials: ParsedRequest
    manner: RequestContext
    api: Api

    @property
    def asks_usage(self) -> bool:
        return self.question.columns.get("include_usage") is True

    @property
    def identities(self) -> tuple[str | None, ...]:
        """What recordings may know it by."""
        return _identity(self.question.columns), _identity(self.without_credentials.columns)


def read_incoming(body: bytes, content_encoding: str, host: str, path: str) -> IncomingRequest:
    """Read a request as recordings are read."""
    api = api_for_path(path)
    question = api.read_request(body, content_encoding)
    columns = question.columns
    host = host.lower().removesuffix(":80").removesuffix(":443")
    manner = RequestContext(columns.get("stream") is True, host, path, _volatile(api, columns))
    return IncomingRequest(question, api.read_request(body, content_encoding, UnsaltedRedactor()), manner, api)


@dataclass(frozen=True)
class RecordedRequest:
    """A row of `exchanges`, and what it is known by."""

    row: JsonObject
    identity: str | None

    @property
    def manner(self) -> RequestContext:
        row = self.row
        path = row["path"].partition("?")[0]
        return RequestContext(row["stream"] is True, _host(row), path, _volatile(api_of(row), row))


def recorded_request(row: JsonObject, request: str | None = None) -> RecordedRequest:
    """A row as it can be found; `request` is what was asked, with unsalted names, where it holds any."""
    columns = row if request is None else api_of(row).read_request(request.encode()).columns
    return RecordedRequest(row, _identity(columns))


@dataclass
class _Queue:
    """Exchanges that asked the same in the same manner, in their order."""

    rows: list[JsonObject] = field(default_factory=list)
    served: int = 0

    def take(self) -> JsonObject:
        row = self.rows[min(self.served, len(self.rows) - 1)]
        self.served += 1
        return row


class RecordedRequests:
    """What was asked in a recording; safe to be asked by several threads."""

    def __init__(self, recorded: Iterable[RecordedRequest]) -> None:
        self._lock = Lock()
        self._queues: dict[str | None, dict[RequestContext, _Queue]] = {}
        self._rows = []
        for one in recorded:
            self._queues.setdefault(one.identity, {}).setdefault(one.manner, _Queue()).rows.append(one.row)
            self._rows.append(one.row)

    def take(self, asked: IncomingRequest) -> JsonObject | None:
        """The row of the exchange that answers this request now; None where it was not recorded."""
        with self._lock:
            for identity in asked.identities:
                if manners := self._queues.get(identity):
                    return manners[max(manners, key=asked.manner.similarity)].take()
        return None

    def nearest(self, asked: IncomingRequest) -> JsonObject | None:
        """The row whose messages have most in common with this request's, the first of all messages counting most."""
        ids: list[str] = asked.question.columns.get("message_ids") or []
        candidates = [row for row in self._rows if row["message_ids"]]
        if not candidates or not ids:
            return None
        similarity = [
            (_common_start(row["message_ids"], ids), len({*row["message_ids"]} & {*ids})) for row in candidates
        ]
        best = max(similarity)
        likest = [row for row, like in zip(candidates, similarity, strict=True) if like == best]
        return min(likest, key=lambda row: (abs(len(row["message_ids"]) - len(ids)), len(_differences(row, asked))))


def explain(row: JsonObject | None, asked: IncomingRequest, texts: Mapping[str, tuple[str | None, str]]) -> str:
    """Why a request is not answered: what was recorded nearest to it, and where the two differ.

    `texts` has the role and the text of each recorded message by its id.
    """
    if row is None:
        return "Nothing like this request was recorded."
    ids, recorded_ids = asked.question.columns["message_ids"] or [], row["message_ids"] or []
    said_of = f"This request was not recorded. Nearest is exchange {row['exchange_id']}, which has "
    if ids == recorded_ids:
        return f"{said_of}the same messages, but other parameters: {_listed(_differences(row, asked))}."
    common = _common_start(recorded_ids, ids)
    own = {content.content_id: (content.role, content.text or "") for content in asked.question.contents}
    recorded = texts.get(recorded_ids[common]) if common < len(recorded_ids) else None
    now = own.get(ids[common]) if common < len(ids) else None
    more = _differences(row, asked)
    return (
        f"{said_of}the first {common} of its {len(recorded_ids)} messages in common. Message {common + 1} differs: "
        f"{_compared(recorded, now)}." + (f" So do parameters: {_listed(more)}." if more else "")
    )


def _identity(columns: Mapping[str, Any]) -> str | None:
    """What a request is known by; one that is no JSON object by its text."""
    fingerprint: str | None = columns.get("request_fingerprint") or columns.get("request_text")
    return fingerprint


def _volatile(api: Api, columns: Mapping[str, Any]) -> str:
    return dumps({name: value for name, value in _parameters(columns).items() if name in api.volatile_fields})


def _parameters(columns: Mapping[str, Any]) -> JsonObject:
    params = columns.get("request_params")
    return loads(params) if params is not None else {}


def _host(row: JsonObject) -> str:
    default = {"http": 80, "https": 443}.get(row["scheme"])
    host: str = row["host"].lower()
    return host if row["port"] in (default, None) else f"{host}:{row['port']}"


def _common_start(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _differences(row: JsonObject, asked: IncomingRequest) -> list[str]:
    """The parameters that count and are not the same, with both values."""
    columns = asked.question.columns
    recorded, now = _parameters(row), _parameters(columns)
    different = [
        f"{name} (recorded {_spelled(recorded, name)}, asked {_spelled(now, name)})"
        for name in dict.fromkeys([*recorded, *now])
        if name not in asked.api.volatile_fields and recorded.get(name, _NOT_SAID) != now.get(name, _NOT_SAID)
    ]
    lists = [f"{name} (other ones)" for column, name in _LISTS.items() if row[column] != columns.get(column)]
    return different + lists


def _listed(differences: list[str]) -> str:
    if not differences:
        return "none that is known"
    more = len(differences) - _MOST_PARAMETERS
    return ", ".join(differences[:_MOST_PARAMETERS]) + (f" and {more} more" if more > 0 else "")


def _spelled(parameters: JsonObject, name: str) -> str:
    return _cut(dumps(parameters[name])) if name in parameters else "none"


def _compared(recorded: tuple[str | None, str] | None, now: tuple[str | None, str] | None) -> str:
    if recorded is None or now is None:
        return f"recorded {_quoted(recorded)}, asked {_quoted(now)}"
    if recorded == now:
        return f"{_quoted(now)} has other fields beside its text"
    start = max(_common_start(recorded[1], now[1]) - _SHOWN_BEFORE, 0)
    return f"recorded {_quoted(recorded, start)}, asked {_quoted(now, start)}"


def _quoted(message: tuple[str | None, str] | None, start: int = 0) -> str:
    if message is None:
        return "none"
    role, text = message
    return f"{role or 'message'}: {dumps(('...' if start else '') + _cut(text[start:]))}"


def _cut(text: str) -> str:
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}..."
