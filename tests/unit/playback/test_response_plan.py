"""The plan of a recorded response that is played again: read again, it makes the same record as the original."""

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


def row_of(*body: bytes, request: bytes = ASKS_STREAM, **more: Any) -> Any:
    """Return a row, not typed, so that tests can read columns by names they compute."""
    return make_record(captured(*body, request=request, **({"headers": EVENT_STREAM} | more)), "r").row


def plan_of(row: Any, *, stream: bool = True, usage: bool = False) -> ResponsePlan:
    return plan_response(row, asks_stream=stream, asks_usage=usage)


def read_again(plan: ResponsePlan, ending: dict[str, Any]) -> Any:
    headers = [list(header) for header in plan.headers]
    return row_of(*(data for _, data in plan.parts), headers=headers, status=plan.status, ending=ending)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_every_stream_has_the_same_record_when_it_is_played_again(path: Path, ending: str) -> None:
    headers = [["content-type", expected(path)["content_type"]]]
    body = path.read_bytes()
    if encoding := expected(path)["content_encoding"]:
        headers.append(["content-encoding", encoding])
    row = row_of(body, headers=headers, ending=ENDINGS[ending])
    plan = plan_of(row)
    again = read_again(plan, ENDINGS[ending])
    for name in SAME:
        assert again[name] == row[name], name
    assert exact(rebuild_completion(again)) == exact(rebuild_completion(row))
    assert len(again["event_offsets_us"] or ()) == len(row["event_offsets_us"] or ()) or row["choices"] is None
    assert plan.cut == (row["outcome"] in ("client_aborted", "upstream_aborted", "recorder_stopped"))


def test_events_keep_their_recorded_times() -> None:
    row = row_of(*CHUNKS)
    plan = plan_of(row)
    assert [at_us for at_us, _ in plan.parts] == row["event_offsets_us"] == [100, 110, 120, 130, 140]
    assert (plan.head_us, plan.ended_us, plan.streamed, plan.cut) == (50, 900, True, False)
    again = read_again(plan, IN_ORDER)
    assert again["event_sizes"] == row["event_sizes"] == [0, 3, 2, 0, 0]


def test_a_stream_that_was_cut_is_cut_after_its_last_event() -> None:
    plan = plan_of(row_of(*CHUNKS[:3], ending=broken_off(client_connected=False)))
    assert (len(plan.parts), plan.cut) == (3, True)
    assert b"[DONE]" not in plan.parts[-1][1]


def test_a_truncated_stream_ends_in_order_and_without_done() -> None:
    row = row_of(*CHUNKS[:3])
    assert row["outcome"] == "truncated"
    plan = plan_of(row)
    assert (len(plan.parts), plan.cut) == (3, False)
    assert read_again(plan, IN_ORDER)["outcome"] == "truncated"


@pytest.mark.parametrize("done", [True, False])
def test_an_error_event_keeps_its_place(done: bool) -> None:
    error = b'data: {"error":{"message":"Overloaded","code":502}}\n\n'
    row = row_of(*CHUNKS[:3], error, *CHUNKS[4:] * done)
    plan = plan_of(row)
    events = [data for _, data in plan.parts]
    assert events[3:] == [error, b"data: [DONE]\n\n"][: 1 + done]
    assert len(events) == 4 + done


def test_an_error_keeps_its_status_and_headers() -> None:
    body = b'{"error":{"message":"Slow down","type":"rate_limit"}}'
    headers = [["content-type", "application/json"], ["retry-after", "7"], ["content-length", "53"]]
    plan = plan_of(row_of(body, headers=headers, status=429))
    assert plan.status == 429
    assert plan.headers == (("content-type", "application/json"), ("retry-after", "7"))
    assert loads(plan.parts[0][1]) == loads(body)


def test_bytes_that_are_not_text_stay_the_same() -> None:
    body = b"\x00\xff\xfe"
    (part,) = plan_of(row_of(body, headers=[["content-type", "application/octet-stream"]])).parts
    assert part[1] == body


def test_an_exchange_without_a_response_still_has_none() -> None:
    plan = plan_of(row_of(status=None, ending=broken_off(server_reached=False)))
    assert (plan.status, plan.cut) == (None, True)


def test_a_stream_is_sent_whole_if_no_stream_is_requested() -> None:
    row = row_of(*CHUNKS)
    plan = plan_of(row, stream=False)
    assert ("content-type", "application/json") in plan.headers
    ((at_us, body),) = plan.parts
    assert at_us == row["ended_us"]
    assert loads(body)["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ]
    assert loads(body)["object"] == "chat.completion"


def test_a_broken_stream_has_no_body_if_no_stream_is_requested() -> None:
    plan = plan_of(row_of(*CHUNKS[:3], ending=broken_off()), stream=False)
    assert (plan.parts, plan.cut) == ((), True)


def test_an_error_inside_a_stream_is_an_http_error_if_no_stream_is_requested() -> None:
    plan = plan_of(row_of(CHUNKS[0], b'data: {"error":{"message":"Overloaded"}}\n\n'), stream=False)
    assert plan.status == 500
    assert loads(plan.parts[0][1]) == {"error": {"message": "Overloaded"}}


@pytest.mark.parametrize("usage", [True, False])
def test_a_whole_response_is_streamed_if_a_stream_is_requested(usage: bool) -> None:
    body = (
        b'{"id":"c1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},'
        b'"finish_reason":"stop"}],"usage":{"total_tokens":3}}'
    )
    row = row_of(body, request=ASKS_WHOLE, headers=[["content-type", "application/json"]])
    plan = plan_of(row, stream=True, usage=usage)
    assert plan.streamed
    assert ("content-type", "text/event-stream") in plan.headers
    again = read_again(plan, IN_ORDER)
    assert (again["choices"], again["outcome"]) == (row["choices"], "complete")
    assert again["usage_raw"] == (row["usage_raw"] if usage else None)
    assert plan.parts[-1][1] == b"data: [DONE]\n\n"
