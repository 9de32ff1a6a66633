"""Reads a response body, given as chunks with their times, into the completion it carries and when its parts came.

Bytes and times in, values out. It tells an event stream from a JSON body by what it is told and by how the body
begins, since servers send JSON errors as event streams and event streams as plain text. Whatever is no chat completion
is kept as text. What is held in memory is bounded by what was sent, not by what it decodes to. What the reading means
for the exchange as a whole is decided in `record`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ..wire.base64_payloads import body_text
from ..wire.content_coding import MAX_DECODED_BYTES, OVER_LIMIT, ContentDecoder, whole_limit
from ..wire.event_stream import EventStreamParser, ServerSentEvent
from ..wire.json_text import NOT_JSON, dumps, loads
from .chat_completions.stream import ChatAssembler, DeltaText

EVENT_STREAM = "text/event-stream"
_STREAM_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
_LONGEST_START = max(len(start) for start in _STREAM_STARTS)
_BLANK = b"\xef\xbb\xbf \t\r\n"
DONE = "[DONE]"
# A JSON object without choices that has one of these is an error: OpenAI's shape, and what web frameworks send.
ERROR_FIELDS = ("error", "detail", "message")
# Answers that need no choices, since one schema stands for all kinds (Bifrost: https://docs.getbifrost.ai/api-reference).
OTHER_KINDS = ("text.completion", "embedding", "speech", "transcribe", "responses.completion")
# How much of something that cannot be read is told in a problem.
QUOTED_CHARACTERS = 200
# A body that is no event stream at all, read as one, has a problem a line.
MAX_PROBLEMS = 100
# Seven bytes make an event, and some kilobytes a million of them. A real answer of a million tokens has about as many.
MAX_EVENTS = 1_500_000

Chunk = tuple[int, bytes]


@dataclass
class ParsedResponse:
    """What a response body says. Times are microseconds since the exchange's start."""

    streamed: bool = False
    completion: dict[str, Any] | None = None
    error: Any = None
    #: The body, where it holds neither a completion nor an error object.
    text: str | None = None
    #: The stream said that it is over (`data: [DONE]`).
    done: bool = False
    #: Every choice has its finish reason.
    finished: bool = False
    #: How many events reported usage, and how many different usages they reported.
    usage_reports: int = 0
    usage_values: int = 0
    event_offsets_us: list[int] = field(default_factory=list)
    event_sizes: list[int] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    #: How many problems with events there are beside those.
    more_problems: int = 0


def read_response(
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
    reader = _BodyReader(content_type, whole_limit(sent, limit))
    for at_us, piece in _decoded(body, decoder):
        reader.feed(at_us, piece)
        if reader.is_full:
            break
    answer = reader.finish(body[-1][0] if body else 0)
    if decoder.problem is not None and decoder.problem not in answer.problems:
        answer.problems.append(decoder.problem)
    if answer.completion is None and answer.error is None:
        # Nothing has kept it: few bodies come to this.
        can_be_held = decoder.problem is None and not reader.is_full and not reader.is_over_limit
        text = _decoded(body, ContentDecoder(content_encoding, limit=limit)) if can_be_held else body
        answer.text = body_text(b"".join(data for _, data in text)[:limit]) or None
    return answer


def _decoded(body: list[Chunk], decoder: ContentDecoder) -> Iterator[Chunk]:
    return ((at_us, piece) for at_us, data in body for piece in decoder.feed(data))


class _BodyReader:
    """Waits until the body shows what it is, then reads it as that; it never holds more than the limit."""

    def __init__(self, content_type: str, limit: int) -> None:
        self._claims_stream = content_type.partition(";")[0].strip().lower() == EVENT_STREAM
        self._limit = limit
        self._is_blank = True
        self._head = bytearray()
        self._body: _StreamReader | _WholeReader | None = None
        self._size = 0

    @property
    def is_over_limit(self) -> bool:
        """Whether the body is more than could be held."""
        return self._size > self._limit

    @property
    def is_full(self) -> bool:
        """Whether nothing more is read, whatever may come."""
        return self._body is not None and self._body.is_full

    def feed(self, at_us: int, data: bytes) -> None:
        self._size += len(data)
        if self._body is not None:
            self._body.feed(at_us, data)
            return
        self._head += data
        # Servers that are slow to answer send blanks, for as long as it takes.
        self._is_blank = self._is_blank and not data.strip(_BLANK)
        start = b"" if self._is_blank else bytes(self._head).lstrip(_BLANK)
        if len(start) >= _LONGEST_START or b"\n" in start or len(self._head) - len(start) > self._limit:
            self._choose(start, at_us)

    def finish(self, last_us: int) -> ParsedResponse:
        if self._body is None:
            self._choose(bytes(self._head).lstrip(_BLANK), last_us)
        assert self._body is not None
        return self._body.finish(last_us)

    def _choose(self, start: bytes, at_us: int) -> None:
        looks_like_json = start.startswith((b"{", b"[", b"<"))
        is_stream = start.startswith(_STREAM_STARTS) or (self._claims_stream and not looks_like_json)
        # Blanks over the limit are given up, whatever follows.
        is_held = len(self._head) - len(start) <= self._limit
        self._body = _StreamReader(self._limit) if is_stream and is_held else _WholeReader(self._limit)
        self._body.feed(at_us, bytes(self._head))
        self._head.clear()


class _WholeReader:
    """A body that is one JSON value, or no JSON at all."""

    def __init__(self, limit: int) -> None:
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
        answer = ParsedResponse()
        payload, self._data = loads(self._data), bytearray()
        if self.is_full:
            answer.problems.append(OVER_LIMIT)
        elif _is_answer(payload):
            answer.completion = payload
            answer.error = payload if payload.get("error") is not None else None
            answer.finished = _is_finished(payload)
            answer.usage_reports = answer.usage_values = int(payload.get("usage") is not None)
        elif is_error(payload) or (isinstance(payload, list) and len(payload) == 1 and is_error(payload[0])):
            # Google's endpoint wraps its errors in a list.
            answer.error = payload
        return answer


class _StreamReader:
    """A body that is an event stream of chunks."""

    def __init__(self, limit: int) -> None:
        self._parser = EventStreamParser(limit=limit)
        self._assembler = ChatAssembler()
        self._answer = ParsedResponse(streamed=True)
        self._chunks = 0
        self.is_full = False

    def feed(self, at_us: int, data: bytes) -> None:
        for event in self._parser.feed(data):
            self.is_full = len(self._answer.event_offsets_us) >= MAX_EVENTS
            if self.is_full:
                return
            self._take(at_us, event)

    def finish(self, last_us: int) -> ParsedResponse:
        answer, assembler = self._answer, self._assembler
        for event in [] if self.is_full else self._parser.finish():
            if event.data.strip() == DONE or event.event == "error" or isinstance(loads(event.data), dict):
                self._take(last_us, event)
            elif event.data.strip():
                answer.problems.append("the stream ends within an event" + _quoted(event.data))
        if self._chunks:
            answer.completion = assembler.completion()
        answer.finished = assembler.finished
        answer.usage_reports = len(assembler.usages)
        answer.usage_values = _distinct(assembler.usages)
        answer.problems += assembler.problems
        if self._parser.unknown_lines:
            answer.problems.append(f"lines that are no fields of an event stream: {self._parser.unknown_lines}")
        if self._parser.broken_lines:
            answer.problems.append(f"lines that are not UTF-8: {self._parser.broken_lines}")
        if self._parser.dropped_events:
            answer.problems.append(f"events over the limit: {self._parser.dropped_events}")
        if self.is_full:
            answer.problems.append(f"more than {MAX_EVENTS} events: the rest was not read")
        return answer

    def _take(self, at_us: int, event: ServerSentEvent) -> None:
        answer = self._answer
        answer.times.setdefault("first_event_us", at_us)
        answer.event_offsets_us.append(at_us)
        if event.data.strip() == DONE:
            answer.done = True
            answer.event_sizes.append(0)
            return
        text = self._read(event)
        total = text.total
        answer.event_sizes.append(total)
        if not total:
            return
        for name, size in (
            ("first_token_us", total),
            ("first_content_us", text.content),
            ("first_reasoning_us", text.reasoning),
            ("first_tool_call_us", text.tool_call),
        ):
            if size:
                answer.times.setdefault(name, at_us)
        answer.times["last_token_us"] = at_us

    def _read(self, event: ServerSentEvent) -> DeltaText:
        payload = loads(event.data)
        if event.event == "error" or is_error(payload):
            self._read_error(event.data if payload is NOT_JSON or payload is None else payload)
            if not (isinstance(payload, dict) and payload.get("choices")):
                return DeltaText()
        if not isinstance(payload, dict):
            if event.data.strip():
                self._note("is not a JSON object" + _quoted(event.data))
            return DeltaText()
        self._chunks += 1
        return self._assembler.feed(payload)

    def _read_error(self, payload: Any) -> None:
        if self._answer.error is None:
            self._answer.error = payload
        elif payload != self._answer.error:
            self._note("is one more error" + _quoted(dumps(payload)))

    def _note(self, text: str) -> None:
        if len(self._answer.problems) < MAX_PROBLEMS:
            self._answer.problems.append(f"event {len(self._answer.event_offsets_us)} {text}")
        else:
            self._answer.more_problems += 1


def is_error(payload: Any) -> bool:
    """Whether a JSON value says that something went wrong, with or without a completion beside it."""
    if not isinstance(payload, dict):
        return False
    if payload.get("error") is not None:
        return True
    return payload.get("choices") is None and any(payload.get(name) is not None for name in ERROR_FIELDS)


def _is_answer(payload: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(payload, dict) and (payload.get("choices") is not None or payload.get("object") in OTHER_KINDS)


def _quoted(text: str) -> str:
    rest = " ..." if len(text) > QUOTED_CHARACTERS else ""
    return f": {text[:QUOTED_CHARACTERS]}{rest}"


def _is_finished(completion: dict[str, Any]) -> bool:
    choices = completion.get("choices")
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(choice, dict) and choice.get("finish_reason") for choice in choices)
    )


def _distinct(values: list[Any]) -> int:
    distinct: list[Any] = []
    for value in values:
        # Cumulative counts differ from chunk to chunk: two values tell all that is asked.
        if value not in distinct:
            distinct.append(value)
            if len(distinct) > 1:
                break
    return len(distinct)
