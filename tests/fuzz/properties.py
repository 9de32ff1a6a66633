"""Any exchange must make a record that can be stored, that is the same however it is cut, and that can be undone.

An input is five bytes that describe how the exchange was sent, "00000" for the simplest case, and then the bodies: the
request's, a separator, the response's. Without a separator the one body is used for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

from tapeline.pipeline.apis.base import Chunk, ParsedRequest, ParsedResponse
from tapeline.pipeline.apis.body_reader import read_response
from tapeline.pipeline.dataset.schema import EXCHANGES, OUTCOMES
from tapeline.pipeline.records.captured import CapturedExchange
from tapeline.pipeline.records.record import Record, make_record
from tapeline.pipeline.wire.json_text import NOT_JSON, JsonObject, canonical, loads
from tapeline.pipeline.wire.redaction import Redactor
from tests.support.journals.captured import IN_ORDER, STOPPED, broken_off, captured
from tests.support.journals.streams import CHAT, CODINGS, exact, without_times
from tests.support.machine.limits import LIMITS, Limits, applied

PLAIN = b"00000"
REDACTOR = Redactor(b"salt", ())
SEPARATOR = b"\n=====\n"
CONTENT_TYPES = ("text/event-stream", "application/json", "", "Text/Event-Stream; charset=utf-8", "\0")
CODING_NAMES = tuple(CODINGS)
STATUSES = (200, 402, None)
ENDINGS = (IN_ORDER, STOPPED, None, broken_off(), broken_off(client_connected=False), broken_off(server_reached=False))


@dataclass(frozen=True)
class Case:
    """One exchange as it was sent."""

    content_type: str
    coding: str
    limits: Limits
    status: int | None
    ending: dict[str, Any] | None
    cut_seed: int
    request: bytes
    response: bytes

    @property
    def pieces(self) -> list[bytes]:
        """The response cut at random places, the same ones for the same seed."""
        random = Random(self.cut_seed)
        size = len(self.response)
        places = sorted(random.randint(0, size) for _ in range(random.randint(1, 8)))
        return [self.response[start:end] for start, end in zip([0, *places], [*places, size], strict=True)]

    def captured(self) -> CapturedExchange:
        """Return the exchange as a journal has it, without empty pieces."""
        headers = [["content-type", self.content_type], ["content-encoding", self.coding]]
        return captured(
            *filter(None, self.pieces),
            status=self.status,
            headers=headers,
            ending=self.ending,
            request=self.request,
            request_headers=[["content-encoding", self.coding]],
        )


def case_of(data: bytes) -> Case:
    """Return the exchange that an input describes; every input describes one."""
    head, bodies = data[: len(PLAIN)].ljust(len(PLAIN), b"0"), data[len(PLAIN) :]
    content_type, coded, ended, cut_seed, damage = ((byte - PLAIN[0]) % 256 for byte in head)
    request, separator, response = bodies.partition(SEPARATOR)
    coding = CODING_NAMES[coded // 2 % len(CODING_NAMES)]
    # Half of the bodies are really coded, since mutation hardly makes a valid one; the others only claim to be.
    encode: Callable[[bytes], bytes] = CODINGS[coding] if coded % 2 == 0 else bytes
    return Case(
        content_type=CONTENT_TYPES[content_type % len(CONTENT_TYPES)],
        coding=coding,
        limits=LIMITS[ended // 64 % len(LIMITS)],
        status=STATUSES[ended % len(STATUSES)],
        ending=ENDINGS[ended // len(STATUSES) % len(ENDINGS)],
        cut_seed=cut_seed,
        request=_damaged(encode(request), damage),
        response=_damaged(encode(response if separator else request), damage),
    )


def check(data: bytes) -> Record:
    """Check everything that must hold for this input, and return its record."""
    case = case_of(data)
    with applied(case.limits):
        _check_response(case)
        _check_request(CHAT.read_request(case.request, case.coding), case)
        record = make_record(case.captured(), "recorder-1", REDACTOR)
    assert set(record.row) == {column.name for column in EXCHANGES.columns}
    assert record.row["outcome"] in OUTCOMES
    _check_columns({**record.row})
    return record


def _check_columns(columns: JsonObject) -> None:
    for column in EXCHANGES.columns:
        assert _is_storable(columns.get(column.name), column.kind), column.name


def _check_response(case: Case) -> None:
    whole = _read([case.response], case)
    wanted = without_times(whole)
    assert without_times(_read(case.pieces, case)) == wanted
    assert without_times(_read([bytes((byte,)) for byte in case.response], case)) == wanted
    columns = CHAT.flatten(whole.completion)
    assert exact(CHAT.rebuild_response(columns)) == exact(whole.completion)
    _check_columns({**columns})


def _read(pieces: list[bytes], case: Case) -> ParsedResponse:
    chunks: list[Chunk] = list(enumerate(pieces))
    return read_response(
        CHAT, chunks, content_type=case.content_type, content_encoding=case.coding, limit=case.limits.decoded
    )


def _check_request(request: ParsedRequest, case: Case) -> None:
    for content in request.contents:
        assert loads(content.json) is not NOT_JSON
        for text in (content.role, content.text, content.json, content.media_type):
            assert _is_storable(text, "text"), text
        assert _is_storable(content.payload_bytes, "integer")
    sent = loads(case.request)
    if case.coding or not isinstance(sent, dict):
        return
    stored = {content.content_id: loads(content.json) for content in request.contents}
    # Two messages that differ only in the spelling of a number are stored as one.
    assert canonical(CHAT.rebuild_request(request.columns, stored.get)) == canonical(sent)


def _is_storable(value: Any, kind: str) -> bool:
    """Whether a column of this kind can hold the value unchanged."""
    return value is None or all(_FITS[type(part)](part, kind) for part in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for member in value:
            yield from _parts(member)
    elif isinstance(value, dict):
        for member in value.values():
            yield from _parts(member)
    elif value is not None:
        yield value


def _is_utf8(text: str, kind: str) -> bool:
    text.encode("utf-8")
    return kind in ("text", "texts", "choices", "headers")


_FITS: dict[type, Callable[[Any, str], bool]] = {
    str: _is_utf8,
    int: lambda number, kind: -(2**63) <= number < 2**63 and kind in ("integer", "integers", "choices"),
    float: lambda _number, kind: kind == "number",
    bool: lambda _flag, kind: kind == "flag",
    datetime: lambda _time, kind: kind == "time",
    Decimal: lambda amount, kind: 0 <= amount < 10**26 and kind == "money",
}


def _damaged(body: bytes, place: int) -> bytes:
    """Return the body with one wrong byte, at a place counted from its end; 0 changes nothing."""
    if not 0 < place <= len(body):
        return body
    at = len(body) - place
    return body[:at] + bytes((body[at] ^ 0x55,)) + body[at + 1 :]
