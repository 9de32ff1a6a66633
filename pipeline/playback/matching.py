"""Finds the recorded exchange that answers a request, or explains how the nearest recorded request differs.

Two requests are the same if their fingerprints are. A request that was recorded several times gets its responses in
the recorded order, then the last one again and again. Where it was recorded in several contexts (streamed or not,
under several hosts), the context nearest to that of the incoming request is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

from ..apis.base import Api, ParsedRequest
from ..apis.providers import DEFAULT_PORTS
from ..apis.registry import api_for_path, api_of
from ..apis.rows import ExchangeRow, RequestColumns
from ..wire.json_text import JsonObject, dumps, loads
from ..wire.redaction import UnsaltedRedactor

_QUOTED_CHARACTERS = 120
# Characters of the common beginning that are shown before the place where two texts differ.
_SHOWN_BEFORE = 20
_MOST_PARAMETERS = 8
_MISSING = object()


@dataclass(frozen=True)
class RequestContext:
    """How a request was made, beyond its fingerprint; the field that weighs most comes first."""

    streamed: bool
    host: str
    path: str
    #: JSON of the parameters that do not change the model's output.
    volatile: str

    def similarity(self, other: RequestContext) -> tuple[bool, ...]:
        """Return which fields both contexts share; the greater tuple is the better match."""
        names = ("streamed", "host", "path", "volatile")
        return tuple(getattr(self, name) == getattr(other, name) for name in names)


@dataclass(frozen=True)
class IncomingRequest:
    """A request to be matched: as it came, and with its credentials replaced by names that need no salt."""

    request: ParsedRequest
    without_credentials: ParsedRequest
    context: RequestContext
    api: Api

    @property
    def asks_usage(self) -> bool:
        return self.request.columns["include_usage"] is True

    @property
    def identities(self) -> tuple[str | None, ...]:
        """The identities under which a recording may have it."""
        return _identity(self.request.columns), _identity(self.without_credentials.columns)


def read_incoming(body: bytes, content_encoding: str, host: str, path: str) -> IncomingRequest:
    """Read a request body in the same way as recorded ones."""
    api = api_for_path(path)
    request = api.read_request(body, content_encoding)
    columns = request.columns
    host = host.lower().removesuffix(":80").removesuffix(":443")
    context = RequestContext(columns["stream"] is True, host, path, _volatile(api, columns))
    return IncomingRequest(request, api.read_request(body, content_encoding, UnsaltedRedactor()), context, api)


@dataclass(frozen=True)
class RecordedRequest:
    """A row of `exchanges`, and the identity of its request."""

    row: ExchangeRow
    identity: str | None

    @property
    def context(self) -> RequestContext:
        row = self.row
        path = row["path"].partition("?")[0]
        return RequestContext(row["stream"] is True, _host(row), path, _volatile(api_of(row), row))


def recorded_request(row: ExchangeRow, request: str | None = None) -> RecordedRequest:
    """Prepare a row for matching.

    `request` is the JSON of its request with unsalted names for credentials; needed only where the request has some.
    """
    columns: RequestColumns = row if request is None else api_of(row).read_request(request.encode()).columns
    return RecordedRequest(row, _identity(columns))


@dataclass
class _Queue:
    """Exchanges with the same request in the same context, in the recorded order."""

    rows: list[ExchangeRow] = field(default_factory=list)
    served: int = 0

    def next(self) -> ExchangeRow:
        row = self.rows[min(self.served, len(self.rows) - 1)]
        self.served += 1
        return row


class RecordedRequests:
    """The requests of a recording; safe for use by several threads."""

    def __init__(self, recorded: Iterable[RecordedRequest]) -> None:
        self._lock = Lock()
        self._queues: dict[str | None, dict[RequestContext, _Queue]] = {}
        self._rows: list[ExchangeRow] = []
        for request in recorded:
            contexts = self._queues.setdefault(request.identity, {})
            contexts.setdefault(request.context, _Queue()).rows.append(request.row)
            self._rows.append(request.row)

    def next_match(self, incoming: IncomingRequest) -> ExchangeRow | None:
        """Return the row of the exchange that answers this request now; None where it was not recorded."""
        with self._lock:
            for identity in incoming.identities:
                if contexts := self._queues.get(identity):
                    return contexts[max(contexts, key=incoming.context.similarity)].next()
        return None

    def nearest(self, incoming: IncomingRequest) -> ExchangeRow | None:
        """Return the row that shares most messages with this request: first the longest common start, then the rest."""
        ids = incoming.request.columns["message_ids"] or []
        candidates = [(row, row["message_ids"]) for row in self._rows if row["message_ids"]]
        if not candidates or not ids:
            return None
        shared = [(_common_start(recorded, ids), len({*recorded} & {*ids})) for _, recorded in candidates]
        most = max(shared)
        nearest = [candidate for candidate, messages in zip(candidates, shared, strict=True) if messages == most]
        row, _ = min(nearest, key=lambda pair: (abs(len(pair[1]) - len(ids)), len(_differences(pair[0], incoming))))
        return row


def explain(row: ExchangeRow | None, incoming: IncomingRequest, texts: Mapping[str, tuple[str | None, str]]) -> str:
    """Explain why a request has no match: name the nearest recorded exchange and where the two requests differ.

    `texts` has the role and the text of each recorded message by its id.
    """
    if row is None:
        return "Nothing like this request was recorded."
    ids, recorded_ids = incoming.request.columns["message_ids"] or [], row["message_ids"] or []
    start = f"This request was not recorded. Nearest is exchange {row['exchange_id']}, which has "
    if ids == recorded_ids:
        return f"{start}the same messages, but other parameters: {_listed(_differences(row, incoming))}."
    common = _common_start(recorded_ids, ids)
    own = {content.content_id: (content.role, content.text or "") for content in incoming.request.contents}
    recorded = texts.get(recorded_ids[common]) if common < len(recorded_ids) else None
    requested = own.get(ids[common]) if common < len(ids) else None
    parameters = _differences(row, incoming)
    return (
        f"{start}the first {common} of its {len(recorded_ids)} messages in common. Message {common + 1} differs: "
        f"{_compared(recorded, requested)}." + (f" So do parameters: {_listed(parameters)}." if parameters else "")
    )


def _identity(columns: RequestColumns) -> str | None:
    """Return the fingerprint of a request, or the text of one that is not a JSON object."""
    return columns["request_fingerprint"] or columns["request_text"]


def _volatile(api: Api, columns: RequestColumns) -> str:
    return dumps({name: value for name, value in _parameters(columns).items() if name in api.volatile_fields})


def _parameters(columns: RequestColumns) -> JsonObject:
    params = columns["request_params"]
    return loads(params) if params is not None else {}


def _host(row: ExchangeRow) -> str:
    host = row["host"].lower()
    return host if row["port"] == DEFAULT_PORTS.get(row["scheme"]) else f"{host}:{row['port']}"


def _common_start(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((position for position, (a, b) in pairs if a != b), min(len(one), len(other)))


def _differences(row: ExchangeRow, incoming: IncomingRequest) -> list[str]:
    """Return the parameters that are part of the fingerprint and differ, with both values."""
    columns = incoming.request.columns
    recorded, requested = _parameters(row), _parameters(columns)
    different = [
        f"{name} (recorded {_as_json(recorded, name)}, requested {_as_json(requested, name)})"
        for name in dict.fromkeys([*recorded, *requested])
        if name not in incoming.api.volatile_fields and recorded.get(name, _MISSING) != requested.get(name, _MISSING)
    ]
    lists = {
        "tools": row["tools_id"] != columns["tools_id"],
        "functions": row["functions_id"] != columns["functions_id"],
    }
    return different + [f"{name} (other ones)" for name, differs in lists.items() if differs]


def _listed(differences: list[str]) -> str:
    if not differences:
        return "none that is known"
    more = len(differences) - _MOST_PARAMETERS
    return ", ".join(differences[:_MOST_PARAMETERS]) + (f" and {more} more" if more > 0 else "")


def _as_json(parameters: JsonObject, name: str) -> str:
    return _cut(dumps(parameters[name])) if name in parameters else "none"


def _compared(recorded: tuple[str | None, str] | None, requested: tuple[str | None, str] | None) -> str:
    if recorded is None or requested is None:
        return f"recorded {_quoted(recorded)}, requested {_quoted(requested)}"
    if recorded == requested:
        return f"{_quoted(requested)} has other fields beside its text"
    start = max(_common_start(recorded[1], requested[1]) - _SHOWN_BEFORE, 0)
    return f"recorded {_quoted(recorded, start)}, requested {_quoted(requested, start)}"


def _quoted(message: tuple[str | None, str] | None, start: int = 0) -> str:
    if message is None:
        return "none"
    role, text = message
    return f"{role or 'message'}: {dumps(('...' if start else '') + _cut(text[start:]))}"


def _cut(text: str) -> str:
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}..."
