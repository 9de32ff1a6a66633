"""What holds for any bytes: nothing raises, nothing depends on how they are cut, a request can be had again."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.captured import captured
from tests.support.journals.strategies import (
    any_body,
    cuts,
    edited,
    edits,
    examples,
    json_value,
    number,
    object_with,
    pieces,
    text,
)
from tests.support.machine.limits import LIMITS, Limits, applied
from tests.unit.apis.chat_completions.test_stream import CHAT, exact, said

from tapeline.pipeline.apis.base import ParsedResponse
from tapeline.pipeline.apis.body_reader import read_response
from tapeline.pipeline.apis.chat_completions.request import read_request
from tapeline.pipeline.records.record import make_record
from tapeline.pipeline.wire.content_coding import ContentDecoder
from tapeline.pipeline.wire.event_stream import EventStreamParser, ServerSentEvent
from tapeline.pipeline.wire.json_text import dumps, loads, storable

# Event streams.

line_text = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=8)
line = st.one_of(
    st.just(""),
    st.builds("{}{}{}".format, st.sampled_from(["data", "event", "id", "retry", ""]), st.just(":"), line_text),
    st.builds("{}{}".format, st.sampled_from(["data: ", "event: ", "id: ", ": "]), line_text),
    st.sampled_from(["data", "event", "id", "data: [DONE]", "DATA: x", " data: x", "id: a\0b"]),
    line_text,
)
event_stream = st.builds(
    lambda mark, lines: mark + "".join(text + end for text, end in lines),
    st.sampled_from(["", "\ufeff", "\ufeff\ufeff"]),
    st.lists(st.tuples(line, st.sampled_from(["\n", "\r", "\r\n"])), max_size=15),
)


def events_by_the_text(stream: str) -> list[ServerSentEvent]:
    """The WHATWG text, word by word, upon a whole stream."""
    events = []
    data, event_type, last_id = "", "", ""
    *lines, _incomplete = re.split("\r\n|\n|\r", stream.removeprefix("\ufeff"))
    for line in lines:
        if line == "":
            if data != "":
                events.append(ServerSentEvent(data.removesuffix("\n"), event_type or "message", last_id))
            data, event_type = "", ""
            continue
        if line.startswith(":"):
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event_type = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            last_id = value
    return events


@examples
@given(event_stream, cuts)
def test_events_are_those_of_the_whatwg_text(stream: str, cuts: list[int]) -> None:
    parser = EventStreamParser()
    events = [event for piece in pieces(stream.encode(), cuts) for event in parser.feed(piece)]
    assert events == events_by_the_text(stream)


@examples
@given(st.lists(st.integers(0, 6), max_size=8), cuts)
def test_events_over_the_limit_are_left_out_and_counted(sizes: list[int], cuts: list[int]) -> None:
    stream = b"".join(b"event: x\ndata: %b\ndata\n: %b\n\n" % (b"d" * size, b"c" * 99) for size in sizes)
    parser = EventStreamParser(limit=len("event: xdata: ddddata"))
    events = [event for piece in pieces(stream, cuts) for event in parser.feed(piece)]
    assert [event.data for event in events] == ["d" * size + "\n" for size in sizes if size <= 3]
    assert parser.dropped_events == len(sizes) - len(events)


# Any bytes.

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "br, gzip": lambda body: gzip.compress(brotli.compress(body)),
    "compress": bytes,
}
content_type = st.sampled_from(["text/event-stream", "Text/Event-Stream; charset=utf-8", "application/json", "", "\0"])


@examples
@given(any_body, content_type, st.sampled_from(sorted(CODINGS)), edits, cuts, st.sampled_from(LIMITS))
def test_any_answer_is_read_the_same_however_it_is_cut(
    body: bytes, content_type: str, coding: str, edits: list[tuple[int, int, bytes]], cuts: list[int], limits: Limits
) -> None:
    sent = edited(CODINGS[coding](body), edits if coding else [])

    def read(chunks: list[bytes]) -> ParsedResponse:
        numbered = list(enumerate(chunks))
        with applied(limits):
            return read_response(
                CHAT, numbered, content_type=content_type, content_encoding=coding, limit=limits.decoded
            )

    whole = read([sent])
    assert said(read(pieces(sent, cuts))) == said(whole)
    assert said(read([sent[at : at + 1] for at in range(len(sent))])) == said(whole)
    if any(ContentDecoder(coding).feed(sent)) and not whole.problems:
        assert (whole.completion, whole.error, whole.text) != (None, None, None)


@examples
@given(any_body, any_body, st.sampled_from([*CODINGS, "\0"]), st.sampled_from([200, 402, None]))
def test_any_exchange_makes_a_record(request: bytes, response: bytes, coding: str, status: int | None) -> None:
    headers = [["content-type", "text/event-stream"], ["content-encoding", coding]]
    row = make_record(captured(response, request=request, headers=headers, status=status), "r1").row
    for name, value in row.items():
        if isinstance(value, str):
            assert storable(value) == value, name
        if isinstance(value, int):
            assert -(2**63) <= value < 2**63, name


# Requests.

request_part = object_with(type=text, text=text)
request_message = object_with(role=text, content=text | st.lists(request_part, max_size=2))
request_body = object_with(
    model=text,
    messages=st.lists(request_message | json_value, max_size=3),
    tools=st.lists(json_value, max_size=2),
    functions=st.lists(json_value, max_size=2),
    temperature=number,
    seed=number,
    tool_choice=json_value,
    response_format=json_value,
    stream_options=json_value,
)


@examples
@given(any_body, st.sampled_from(sorted(CODINGS)))
def test_any_request_is_read(body: bytes, coding: str) -> None:
    question = read_request(body, coding)
    assert len({content.content_id for content in question.contents}) <= len(question.contents)


@examples
@given(request_body)
def test_a_request_comes_back_from_its_parameters_and_contents(payload: dict[str, Any]) -> None:
    payload = loads(dumps(payload))
    question = read_request(dumps(payload).encode())
    contents = iter(question.contents)
    rebuilt = loads(question.columns["request_params"])
    if (ids := question.columns.get("message_ids")) is not None:
        messages = [next(contents) for _ in ids]
        assert [message.content_id for message in messages] == ids
        rebuilt["messages"] = [loads(message.json) for message in messages]
    for name in ("tools", "functions"):
        if question.columns.get(f"{name}_id") is not None:
            rebuilt[name] = loads(next(contents).json)
    assert list(contents) == []
    assert exact(rebuilt) == exact(payload)
