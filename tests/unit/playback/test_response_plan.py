"""Recorded exchanges as they are answered again: the answer, read again, has the record of the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.journals.captured import EVENT_STREAM, IN_ORDER, STOPPED, broken_off, captured
from tests.support.journals.streams import STREAMS, exact, expected

from tapeline.pipeline.apis.chat_completions.columns import rebuild_completion
from tapeline.pipeline.playback.response_plan import ResponsePlan, plan_response
from tapeline.pipeline.records.record import make_record
from tapeline.pipeline.wire.json_text import loads

ASKS_STREAM = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
ASKS_WHOLE = b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}'
ENDINGS: dict[str, dict[str, Any]] = {"in order": IN_ORDER, "cut": broken_off(), "stopped": STOPPED}
SAME = ("outcome", "status_code", "streamed", "usage_raw", "response_text", "error_message")


def event(choice: str, more: str = "") -> bytes:
    return f'data: {{"id":"c1","object":"chat.completion.chunk","choices":[{{"index":0,{choice}}}]{more}}}\n\n'.encode()


CHUNKS = (
    event('"delta":{"role":"assistant","content":""},"finish_reason":null'),
    event('"delta":{"content":"Hel"},"finish_reason":null'),
    event('"delta":{"content":"lo"},"finish_reason":null'),
    event('"delta":{},"finish_reason":"stop"', ',"usage":{"total_tokens":3}'),
    b"data: [DONE]\n\n",
)


def row_of(*body: bytes, request: bytes = ASKS_STREAM, **more: Any) -> dict[str, Any]:
    return {**make_record(captured(*body, request=request, **({"headers": EVENT_STREAM} | more)), "r").row}


def replied(row: dict[str, Any], *, stream: bool = True, usage: bool = False) -> ResponsePlan:
    return plan_response(row, asks_stream=stream, asks_usage=usage)


def read_again(reply: ResponsePlan, ending: dict[str, Any]) -> dict[str, Any]:
    headers = [list(header) for header in reply.headers]
    return row_of(*(data for _, data in reply.parts), headers=headers, status=reply.status, ending=ending)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_every_stream_is_answered_so_that_it_has_the_same_record(path: Path, ending: str) -> None:
    headers = [["content-type", expected(path)["content_type"]]]
    body = path.read_bytes()
    if encoding := expected(path)["content_encoding"]:
        headers.append(["content-encoding", encoding])
    row = row_of(body, headers=headers, ending=ENDINGS[ending])
    reply = replied(row)
    again = read_again(reply, ENDINGS[ending])
    for name in SAME:
        assert again[name] == row[name], name
    assert exact(rebuild_completion(again)) == exact(rebuild_completion(row))
    assert len(again["event_offsets_us"] or ()) == len(row["event_offsets_us"] or ()) or row["choices"] is None
    assert reply.cut == (row["outcome"] in ("client_aborted", "upstream_aborted", "recorder_stopped"))


def test_events_come_when_they_came() -> None:
    row = row_of(*CHUNKS)
    reply = replied(row)
    assert [at_us for at_us, _ in reply.parts] == row["event_offsets_us"] == [100, 110, 120, 130, 140]
    assert (reply.head_us, reply.ended_us, reply.streamed, reply.cut) == (50, 900, True, False)
    again = read_again(reply, IN_ORDER)
    assert again["event_sizes"] == row["event_sizes"] == [0, 3, 2, 0, 0]


def test_a_stream_that_was_cut_is_cut_after_its_last_event() -> None:
    reply = replied(row_of(*CHUNKS[:3], ending=broken_off(client_connected=False)))
    assert (len(reply.parts), reply.cut) == (3, True)
    assert b"[DONE]" not in reply.parts[-1][1]


def test_a_truncated_stream_ends_in_order_and_without_done() -> None:
    row = row_of(*CHUNKS[:3])
    assert row["outcome"] == "truncated"
    reply = replied(row)
    assert (len(reply.parts), reply.cut) == (3, False)
    assert read_again(reply, IN_ORDER)["outcome"] == "truncated"


@pytest.mark.parametrize("done", [True, False])
def test_an_error_comes_where_it_came(done: bool) -> None:
    error = b'data: {"error":{"message":"Overloaded","code":502}}\n\n'
    row = row_of(*CHUNKS[:3], error, *CHUNKS[4:] * done)
    reply = replied(row)
    events = [data for _, data in reply.parts]
    assert events[3:] == [error, b"data: [DONE]\n\n"][: 1 + done]
    assert len(events) == 4 + done


def test_an_error_with_its_status_and_headers() -> None:
    body = b'{"error":{"message":"Slow down","type":"rate_limit"}}'
    headers = [["content-type", "application/json"], ["retry-after", "7"], ["content-length", "53"]]
    reply = replied(row_of(body, headers=headers, status=429))
    assert reply.status == 429
    assert reply.headers == (("content-type", "application/json"), ("retry-after", "7"))
    assert loads(reply.parts[0][1]) == loads(body)


def test_bytes_that_are_no_text_come_as_they_were() -> None:
    body = b"\x00\xff\xfe"
    (part,) = replied(row_of(body, headers=[["content-type", "application/octet-stream"]])).parts
    assert part[1] == body


def test_an_exchange_without_an_answer_has_none_again() -> None:
    reply = replied(row_of(status=None, ending=broken_off(server_reached=False)))
    assert (reply.status, reply.cut) == (None, True)


def test_a_stream_is_answered_whole_where_no_stream_is_asked_for() -> None:
    row = row_of(*CHUNKS)
    reply = replied(row, stream=False)
    assert ("content-type", "application/json") in reply.headers
    ((at_us, body),) = reply.parts
    assert at_us == row["ended_us"]
    assert loads(body)["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ]
    assert loads(body)["object"] == "chat.completion"


def test_of_a_broken_stream_nothing_is_answered_where_the_whole_is_asked_for() -> None:
    reply = replied(row_of(*CHUNKS[:3], ending=broken_off()), stream=False)
    assert (reply.parts, reply.cut) == ((), True)


def test_an_error_within_a_stream_is_an_error_where_the_whole_is_asked_for() -> None:
    reply = replied(row_of(CHUNKS[0], b'data: {"error":{"message":"Overloaded"}}\n\n'), stream=False)
    assert reply.status == 500
    assert loads(reply.parts[0][1]) == {"error": {"message": "Overloaded"}}


@pytest.mark.parametrize("usage", [True, False])
def test_a_whole_answer_is_streamed_where_a_stream_is_asked_for(usage: bool) -> None:
    body = (
        b'{"id":"c1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},'
        b'"finish_reason":"stop"}],"usage":{"total_tokens":3}}'
    )
    row = row_of(body, request=ASKS_WHOLE, headers=[["content-type", "application/json"]])
    reply = replied(row, stream=True, usage=usage)
    assert reply.streamed
    assert ("content-type", "text/event-stream") in reply.headers
    again = read_again(reply, IN_ORDER)
    assert (again["choices"], again["outcome"]) == (row["choices"], "complete")
    assert again["usage_raw"] == (row["usage_raw"] if usage else None)
    assert reply.parts[-1][1] == b"data: [DONE]\n\n"
