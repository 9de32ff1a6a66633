"""What must hold for any exchange: it makes a record that can be stored, however it is cut, and comes back from it.

An input is five bytes that say how the exchange was sent, "00000" the plainest way, then the bodies: the request's, a
separator, the response's; without the separator one body is both.
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
from tapeline.pipeline.apis.chat_completions.columns import flatten_completion, rebuild_completion
from tapeline.pipeline.apis.chat_completions.request import read_request
from tapeline.pipeline.dataset.schema import EXCHANGES, OUTCOMES
from tapeline.pipeline.records.captured import CapturedExchange
from tapeline.pipeline.records.record import Record, make_record
from tapeline.pipeline.wire.base64_payloads import restore
from tapeline.pipeline.wire.json_text import NOT_JSON, canonical, loads
from tapeline.pipeline.wire.redaction import Redactor
from tests.support.journals.captured import IN_ORDER, STOPPED, broken_off, captured
from tests.support.machine.limits import LIMITS, Limits, applied
from tests.unit.apis.chat_completions.test_stream import CHAT, exact, said
from tests.unit.apis.test_properties import CODINGS

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
        """The response cut at random places, the same ones each time."""
        random = Random(self.cut_seed)
        size = len(self.response)
        places = sorted(random.randint(0, size) for _ in range(random.randint(1, 8)))
        return [self.response[start:end] for start, end in zip([0, *places], [*places, size], strict=True)]

    def captured(self) -> CapturedExchange:
        """The exchange as a journal holds it, which has no empty pieces."""
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
    """The exchange that an input stands for; every input stands for one."""
    head, bodies = data[: len(PLAIN)].ljust(len(PLAIN), b"0"), data[len(PLAIN) :]
    content_type, coded, ended, cut_seed, damage = ((byte - PLAIN[0]) % 256 for byte in head)
    request, separator, response = bodies.partition(SEPARATOR)
    coding = CODING_NAMES[coded // 2 % len(CODING_NAMES)]
    # The libraries make valid bodies, which mutation hardly would; other bodies only claim to be coded.
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
    """Everything that must hold for this input; gives its record."""
    case = case_of(data)
    with applied(case.limits):
        _check_answer(case)
        _check_question(read_request(case.request, case.coding), case)
        record = make_record(case.captured(), "recorder-1", REDACTOR)
    assert set(record.row) == {column.name for column in EXCHANGES.columns}
    assert record.row["outcome"] in OUTCOMES
    for column in EXCHANGES.columns:
        assert _is_storable(record.row[column.name], column.kind), column.name
    return record


def _check_answer(case: Case) -> None:
    whole = _read([case.response], case)
    wanted = said(whole)
    assert said(_read(case.pieces, case)) == wanted
    assert said(_read([bytes((byte,)) for byte in case.response], case)) == wanted
    columns = flatten_completion(whole.completion)
    assert exact(rebuild_completion(columns)) == exact(whole.completion)
    for column in EXCHANGES.columns:
        if column.name in columns:
            assert _is_storable(columns[column.name], column.kind), column.name


def _read(pieces: list[bytes], case: Case) -> ParsedResponse:
    chunks: list[Chunk] = list(enumerate(pieces))
    return read_response(
        CHAT, chunks, content_type=case.content_type, content_encoding=case.coding, limit=case.limits.decoded
    )


def _check_question(question: ParsedRequest, case: Case) -> None:
    stored = {content.content_id: content for content in question.contents}
    for content in question.contents:
        assert loads(content.json) is not NOT_JSON
        for text in (content.role, content.text, content.json, content.media_type):
            assert _is_storable(text, "text"), text
        assert _is_storable(content.payload_bytes, "integer")
    sent = loads(case.request)
    if case.coding or not isinstance(sent, dict):
        return
    columns = question.columns
    rebuilt = loads(columns["request_params"])
    if (ids := columns.get("message_ids")) is not None:
        messages = [loads(stored[content_id].json) for content_id in ids]
        rebuilt["messages"] = restore(messages, lambda payload_id: loads(stored[payload_id].json))
    for name in ("tools", "functions"):
        if (content_id := columns.get(f"{name}_id")) is not None:
            rebuilt[name] = loads(stored[content_id].json)
    # Two messages that differ in the spelling of a number are one content.
    assert canonical(rebuilt) == canonical(sent)


def _is_storable(value: Any, kind: str) -> bool:
    """Whether a column of this kind takes the value as it is."""
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
    """The body with a wrong byte at a place that counts from its end; 0 does no damage."""
    if not 0 < place <= len(body):
        return body
    at = len(body) - place
    return body[:at] + bytes((body[at] ^ 0x55,)) + body[at + 1 :]
