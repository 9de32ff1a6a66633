"""Event streams: the parser against the specification, its limit, and events that are written and read back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.strategies import cuts, examples, pieces

from tapeline.pipeline.wire.event_stream import EventStreamParser, ServerSentEvent, encode_event, is_event_stream

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


def events_by_the_specification(stream: str) -> list[ServerSentEvent]:
    """The WHATWG specification, step by step, for a whole stream."""
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
def test_events_are_those_of_the_specification(stream: str, cuts: list[int]) -> None:
    parser = EventStreamParser()
    events = [event for piece in pieces(stream.encode(), cuts) for event in parser.feed(piece)]
    assert events == events_by_the_specification(stream)


@examples
@given(st.lists(st.integers(0, 6), max_size=8), cuts)
def test_events_over_the_limit_are_dropped_and_counted(sizes: list[int], cuts: list[int]) -> None:
    stream = b"".join(b"event: x\ndata: %b\ndata\n: %b\n\n" % (b"d" * size, b"c" * 99) for size in sizes)
    parser = EventStreamParser(limit=len("event: xdata: ddddata"))
    events = [event for piece in pieces(stream, cuts) for event in parser.feed(piece)]
    assert [event.data for event in events] == ["d" * size + "\n" for size in sizes if size <= 3]
    assert parser.dropped_events == len(sizes) - len(events)


@examples
@given(st.text(st.characters(blacklist_characters="\r", blacklist_categories=["Cs"])), st.sampled_from(["", "error"]))
def test_a_written_event_is_read_back(data: str, event: str) -> None:
    (parsed,) = EventStreamParser().feed(encode_event(data, event))
    assert parsed == ServerSentEvent(data, event or "message")


def test_problems_name_what_could_not_be_read() -> None:
    parser = EventStreamParser(limit=20)
    assert list(parser.feed(b"no field\n\ndata: \xff\n\ndata: more than twenty bytes\n\n")) == [
        ServerSentEvent("\ufffd")
    ]
    assert parser.finish() == []
    assert parser.problems() == [
        "lines that are no fields of an event stream: 1",
        "lines that are not UTF-8: 1",
        "events over the limit: 1",
    ]


@pytest.mark.parametrize(
    ("media_type", "start", "is_stream"),
    [
        ("text/event-stream", b"data: ", True),
        ("application/json", b"event:", True),
        ("", b": keep", True),
        ("text/event-stream", b"", True),
        ("text/event-stream", b'{"erro', False),
        ("text/event-stream", b"<html>", False),
        ("application/json", b"", False),
    ],
)
def test_a_body_is_recognised_by_its_beginning_and_then_by_its_type(
    media_type: str, start: bytes, is_stream: bool
) -> None:
    assert is_event_stream(media_type, start) is is_stream
