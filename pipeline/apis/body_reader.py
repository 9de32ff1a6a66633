"""Reads a response body, given as chunks with their times, into the completion it carries and the times of its parts.

It finds out whether the body is a stream or one JSON value, from the headers and from how the body begins. The API
judges the JSON and puts the events of a stream together. A body without a completion is kept as text. The limits on
memory follow from the number of bytes that were sent, not from the number that they decode to. `records` concludes
what the result means for the exchange.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..wire.base64_payloads import body_text
from ..wire.content_coding import MAX_DECODED_BYTES, OVER_LIMIT, ContentDecoder, whole_limit
from ..wire.event_stream import ServerSentEvent
from ..wire.json_text import NOT_JSON, dumps, loads
from .base import Api, Chunk, DeltaText, ParsedResponse

_BLANK = b"\xef\xbb\xbf \t\r\n"
# How much of something that cannot be read a problem quotes.
QUOTED_CHARACTERS = 200
# A body of another kind that is read as an event stream has a problem in each line.
MAX_PROBLEMS = 100
# An event may have only seven bytes, so some compressed kilobytes may hold a million events. A real response of a
# million tokens has about as many.
MAX_EVENTS = 1_500_000


def read_response(
    api: Api,
    chunks: Iterable[Chunk],
    *,
    content_type: str = "",
    content_encoding: str = "",
    limit: int = MAX_DECODED_BYTES,
) -> ParsedResponse:
    """Read a whole body, or as much of it as there is."""
    body = list(chunks)
    sent = sum(len(data) for _, data in body)
    decoder = ContentDecoder(content_encoding, limit=limit)
    reader = _BodyReader(api, content_type, whole_limit(sent, limit))
    for at_us, piece in _decoded(body, decoder):
        reader.feed(at_us, piece)
        if reader.is_full:
            break
    response = reader.finish(body[-1][0] if body else 0)
    if decoder.problem is not None and decoder.problem not in response.problems:
        response.problems.append(decoder.problem)
    if response.completion is None and response.error is None:
        # The reader did not keep the body, and few bodies have to be kept as text: decode it again.
        can_be_held = decoder.problem is None and not reader.is_full and not reader.is_over_limit
        text = _decoded(body, ContentDecoder(content_encoding, limit=limit)) if can_be_held else body
        response.text = body_text(b"".join(data for _, data in text)[:limit]) or None
    return response


def _decoded(body: list[Chunk], decoder: ContentDecoder) -> Iterator[Chunk]:
    return ((at_us, piece) for at_us, data in body for piece in decoder.feed(data))


class _BodyReader:
    """Waits until the first bytes show whether the body is a stream, then reads it; never holds more than the limit."""

    def __init__(self, api: Api, content_type: str, limit: int) -> None:
        self._api = api
        self._media_type = content_type.partition(";")[0].strip().lower()
        self._limit = limit
        self._is_blank = True
        self._head = bytearray()
        self._reader: _StreamReader | _WholeReader | None = None
        self._size = 0

    @property
    def is_over_limit(self) -> bool:
        """Whether the body has more bytes than may be held."""
        return self._size > self._limit

    @property
    def is_full(self) -> bool:
        """Whether further bytes would not be read."""
        return self._reader is not None and self._reader.is_full

    def feed(self, at_us: int, data: bytes) -> None:
        self._size += len(data)
        if self._reader is not None:
            self._reader.feed(at_us, data)
            return
        self._head += data
        # Slow servers send blanks until the response is ready.
        self._is_blank = self._is_blank and not data.strip(_BLANK)
        start = b"" if self._is_blank else bytes(self._head).lstrip(_BLANK)
        is_enough = len(start) >= self._api.stream_format.start_bytes or b"\n" in start
        if is_enough or len(self._head) - len(start) > self._limit:
            self._choose_reader(start, at_us)

    def finish(self, last_us: int) -> ParsedResponse:
        if self._reader is None:
            self._choose_reader(bytes(self._head).lstrip(_BLANK), last_us)
        assert self._reader is not None
        return self._reader.finish(last_us)

    def _choose_reader(self, start: bytes, at_us: int) -> None:
        # After more blanks than the limit nothing is read as a stream.
        is_held = len(self._head) - len(start) <= self._limit
        is_stream = is_held and self._api.stream_format.is_stream(self._media_type, start)
        self._reader = (_StreamReader if is_stream else _WholeReader)(self._api, self._limit)
        self._reader.feed(at_us, bytes(self._head))
        self._head.clear()


class _WholeReader:
    """Reads a body that is one JSON value, or no JSON at all."""

    def __init__(self, api: Api, limit: int) -> None:
        self._api = api
        self._limit = limit
        self._data = bytearray()
        self.is_full = False

    def feed(self, _at_us: int, data: bytes) -> None:
        self.is_full = len(self._data) + len(data) > self._limit
        if self.is_full:
            self._data.clear()
        else:
            self._data += data

    def finish(self, _last_us: int) -> ParsedResponse:
        response, api = ParsedResponse(), self._api
        payload, self._data = loads(self._data), bytearray()
        if self.is_full:
            response.problems.append(OVER_LIMIT)
        elif api.is_response(payload):
            response.completion = payload
            response.error = payload if payload.get("error") is not None else None
            response.finished = api.is_finished(payload)
            response.usage_reports = response.usage_values = int(api.usage(payload) is not None)
        elif api.is_error(payload) or (isinstance(payload, list) and len(payload) == 1 and api.is_error(payload[0])):
            # Google's endpoint wraps its errors in a list.
            response.error = payload
        return response


class _StreamReader:
    """Reads a body that is a stream of events."""

    def __init__(self, api: Api, limit: int) -> None:
        self._api = api
        self._parser = api.stream_format.parser(limit)
        self._assembler = api.assembler()
        self._response = ParsedResponse(streamed=True)
        self._chunks = 0
        self.is_full = False

    def feed(self, at_us: int, data: bytes) -> None:
        for event in self._parser.feed(data):
            self.is_full = len(self._response.event_offsets_us) >= MAX_EVENTS
            if self.is_full:
                return
            self._add(at_us, event)

    def finish(self, last_us: int) -> ParsedResponse:
        response, assembler = self._response, self._assembler
        for event in [] if self.is_full else self._parser.finish():
            if self._is_end(event) or event.event == "error" or isinstance(loads(event.data), dict):
                self._add(last_us, event)
            elif event.data.strip():
                response.problems.append("the stream ends within an event" + _quoted(event.data))
        if self._chunks:
            response.completion = assembler.completion()
        response.finished = assembler.finished
        response.usage_reports = len(assembler.usages)
        response.usage_values = _count_distinct(assembler.usages)
        response.problems += assembler.problems
        response.problems += self._parser.problems()
        if self.is_full:
            response.problems.append(f"more than {MAX_EVENTS} events: the rest was not read")
        return response

    def _add(self, at_us: int, event: ServerSentEvent) -> None:
        response = self._response
        response.times.setdefault("first_event_us", at_us)
        response.event_offsets_us.append(at_us)
        if self._is_end(event):
            response.done = True
            response.event_sizes.append(0)
            return
        text = self._read(event)
        total = text.total
        response.event_sizes.append(total)
        if not total:
            return
        for name, size in (
            ("first_token_us", total),
            ("first_content_us", text.content),
            ("first_reasoning_us", text.reasoning),
            ("first_tool_call_us", text.tool_call),
        ):
            if size:
                response.times.setdefault(name, at_us)
        response.times["last_token_us"] = at_us

    def _is_end(self, event: ServerSentEvent) -> bool:
        return event.data.strip() == self._api.end_marker

    def _read(self, event: ServerSentEvent) -> DeltaText:
        payload = loads(event.data)
        if event.event == "error" or self._api.is_error(payload):
            self._read_error(event.data if payload is NOT_JSON or payload is None else payload)
            if not self._api.has_output(payload):
                return DeltaText()
        if not isinstance(payload, dict):
            if event.data.strip():
                self._note("is not a JSON object" + _quoted(event.data))
            return DeltaText()
        self._chunks += 1
        return self._assembler.feed(payload)

    def _read_error(self, payload: Any) -> None:
        if self._response.error is None:
            self._response.error = payload
        elif payload != self._response.error:
            self._note("is one more error" + _quoted(dumps(payload)))

    def _note(self, text: str) -> None:
        if len(self._response.problems) < MAX_PROBLEMS:
            self._response.problems.append(f"event {len(self._response.event_offsets_us)} {text}")
        else:
            self._response.more_problems += 1


def _quoted(text: str) -> str:
    rest = " ..." if len(text) > QUOTED_CHARACTERS else ""
    return f": {text[:QUOTED_CHARACTERS]}{rest}"


def _count_distinct(values: Iterable[Any]) -> int:
    distinct: list[Any] = []
    for value in values:
        # Cumulative counts differ from event to event: the caller only needs to know whether there are two values.
        if value not in distinct:
            distinct.append(value)
            if len(distinct) > 1:
                break
    return len(distinct)
