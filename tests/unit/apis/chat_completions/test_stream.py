"""Streams of chat completions: recorded ones and any, whole and in pieces, in every coding, with times and sizes."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.chunker import Chunker
from tests.support.journals.strategies import cuts, examples, json_value, pieces
from tests.support.journals.streams import (
    CHAT,
    CODINGS,
    STREAMS,
    byte_by_byte,
    exact,
    expected,
    one_chunk,
    read,
    without_times,
)
from tests.support.places import DATA

from tapeline.pipeline.apis.base import Chunk
from tapeline.pipeline.apis.body_reader import read_response
from tapeline.pipeline.apis.chat_completions.columns import flatten_completion, rebuild_completion


@pytest.fixture(params=STREAMS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_every_body_has_what_is_expected_of_it() -> None:
    folder = DATA / "streams"
    assert {path.stem for path in STREAMS} == {path.stem for path in folder.glob("*.json")}
    assert len(STREAMS) > 100


def test_is_read_as_expected(path: Path) -> None:
    response, wanted = read(one_chunk(path.read_bytes()), path), expected(path)
    for name in ("streamed", "done", "finished", "problems", "error", "text", "completion"):
        assert exact(getattr(response, name)) == exact(wanted[name]), name
    assert wanted["lossless"] == (not response.problems)


def test_is_the_same_byte_by_byte(path: Path) -> None:
    body = path.read_bytes()
    assert without_times(read(byte_by_byte(body), path)) == without_times(read(one_chunk(body), path))


@pytest.mark.slow
def test_is_the_same_cut_in_two_anywhere(path: Path) -> None:
    body = path.read_bytes()
    whole = vars(read(one_chunk(body), path)) | {"times": None, "event_offsets_us": None}
    for cut in range(len(body) + 1):
        halves = read([(1, body[:cut]), (2, body[cut:])], path)
        assert vars(halves) | {"times": None, "event_offsets_us": None} == whole, body[:cut]


@pytest.mark.parametrize("coding", [name for name in CODINGS if name not in ("", "compress")])
def test_is_the_same_in_every_coding(path: Path, coding: str) -> None:
    body = path.read_bytes()
    coded = CODINGS[coding](body)
    plain = without_times(read(one_chunk(body), path))
    assert without_times(read(one_chunk(coded), path, coding)) == plain
    assert without_times(read(byte_by_byte(coded), path, coding)) == plain


def event(delta: str, more: str = "") -> bytes:
    return f'data: {{"choices":[{{"index":0,"delta":{{{delta}}}{more}}}]}}\n\n'.encode()


def test_a_time_is_that_of_the_chunk_that_completes_the_event() -> None:
    events = [
        event('"role":"assistant","content":""'),
        event('"reasoning":"Hm"'),
        event('"content":"Yes"'),
        event('"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]'),
        event("", ',"finish_reason":"stop"'),
        b"data: [DONE]\n\n",
    ]
    chunks: list[Chunk] = [(5, b": hold on\n\n")]
    for number, data in enumerate(events, 1):
        # The blank line completes an event.
        chunks += [(number * 10, data[:-1]), (number * 10 + 1, data[-1:])]
    response = read_response(CHAT, chunks, content_type="text/event-stream")
    assert response.event_offsets_us == [11, 21, 31, 41, 51, 61]
    assert response.event_sizes == [0, 2, 3, 3, 0, 0]
    assert response.times == {
        "first_event_us": 11,
        "first_token_us": 21,
        "first_reasoning_us": 21,
        "first_content_us": 31,
        "first_tool_call_us": 41,
        "last_token_us": 41,
    }


def test_times_of_events_in_one_chunk_and_of_an_event_that_the_end_completes() -> None:
    first, last = event('"content":"A"') + event('"content":"B"'), event('"content":"C"').rstrip()
    response = read_response(CHAT, [(10, first), (20, last)], content_type="text/event-stream")
    assert response.event_offsets_us == [10, 10, 20]
    assert (response.times["first_token_us"], response.times["last_token_us"]) == (10, 20)


def test_times_are_kept_through_a_coding() -> None:
    compressor = zlib.compressobj(wbits=31)
    chunks = []
    for at_us in (10, 20, 30):
        chunks.append((at_us, compressor.compress(event('"content":"A"')) + compressor.flush(zlib.Z_SYNC_FLUSH)))
    response = read_response(
        CHAT, [*chunks, (40, compressor.flush())], content_type="text/event-stream", content_encoding="gzip"
    )
    assert response.event_offsets_us == [10, 20, 30]


@pytest.mark.parametrize(
    ("delta", "sizes"),
    [
        pytest.param('"content":[{"type":"text","text":"Yes"}]', (3, 0, 0), id="content in parts"),
        pytest.param('"content":[{"type":"thinking","thinking":[{"text":"Hm"}]}]', (0, 2, 0), id="thinking in parts"),
        pytest.param('"reasoning":"Hm","reasoning_content":"Hm"', (0, 2, 0), id="reasoning under two names"),
        pytest.param('"reasoning_details":[{"type":"reasoning.text","text":"Hm"}]', (0, 2, 0), id="details alone"),
        pytest.param('"refusal":"No"', (2, 0, 0), id="refusal"),
        pytest.param('"audio":{"transcript":"Yes"}', (3, 0, 0), id="audio"),
        pytest.param('"function_call":{"name":"f","arguments":"{"}', (0, 0, 2), id="function call"),
        pytest.param('"tool_calls":[{"custom":{"input":"SELECT"}}]', (0, 0, 6), id="custom tool"),
        pytest.param('"role":"assistant","content":null', (0, 0, 0), id="no text"),
    ],
)
def test_characters_are_counted_by_kind(delta: str, sizes: tuple[int, int, int]) -> None:
    response = read_response(CHAT, [(7, event(delta))], content_type="text/event-stream")
    assert response.event_sizes == [sum(sizes)]
    kinds = ("first_content_us", "first_reasoning_us", "first_tool_call_us")
    assert [response.times.get(kind) for kind in kinds] == [7 if size else None for size in sizes]


@pytest.mark.parametrize(
    ("name", "reports", "values"),
    [
        ("usage_absent", 0, 0),
        ("usage_null", 0, 0),
        ("usage_chunk_with_empty_choices", 1, 1),
        ("usage_in_every_chunk", 4, 2),
        ("usage_zero_at_first", 2, 2),
        ("json_completion", 1, 1),
    ],
)
def test_usage_reports_are_counted(name: str, reports: int, values: int) -> None:
    path = (DATA / "streams") / f"{name}.sse"
    response = read(one_chunk(path.read_bytes()), path)
    assert (response.usage_reports, response.usage_values) == (reports, values)


plain = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
whole_call = st.builds(
    lambda position, name, arguments, more: {
        "id": f"call_{position}",
        "type": "function",
        "function": {"name": f"f{name}", "arguments": arguments},
        **more,
    },
    st.integers(0, 10**6),
    plain,
    plain,
    st.sampled_from([{}, {"extra_content": {"signature": "c2ln"}}]),
)
token = st.fixed_dictionaries({"token": plain, "logprob": st.integers(-9, 0)})
whole_message = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | plain},
    optional={
        "refusal": st.none() | plain,
        "reasoning_content": plain,
        "reasoning": plain,
        "tool_calls": st.lists(whole_call, min_size=1, max_size=3, unique_by=lambda call: call["id"]),
        "function_call": st.fixed_dictionaries({"name": st.just("f"), "arguments": plain}),
        "annotations": st.lists(st.fixed_dictionaries({"url": plain}), max_size=3),
        "audio": st.fixed_dictionaries({"id": st.just("a"), "transcript": plain, "expires_at": st.just(9)}),
    },
)
whole_choice = st.fixed_dictionaries(
    {"message": whole_message, "finish_reason": st.sampled_from(["stop", "length", "tool_calls"])},
    optional={
        "logprobs": st.none() | st.fixed_dictionaries({"content": st.lists(token, max_size=3)}),
        "content_filter_results": st.fixed_dictionaries({"hate": st.fixed_dictionaries({"filtered": st.booleans()})}),
    },
)
whole_completion = st.fixed_dictionaries(
    {
        "id": st.just("c1"),
        "object": st.just("chat.completion"),
        "created": st.integers(1, 2**40),
        "model": plain,
        "choices": st.lists(whole_choice, min_size=1, max_size=3),
    },
    optional={
        "usage": st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9), "cost": st.decimals("0", "1")}),
        "system_fingerprint": plain,
        "service_tier": st.just("default"),
        "provider": plain,
        "x": json_value,
    },
)


@pytest.mark.slow
@examples
@given(whole_completion, st.randoms(use_true_random=False), st.sampled_from(["\n", "\r", "\r\n"]), cuts)
def test_any_completion_cut_into_chunks_is_put_together_again(
    completion: dict[str, Any], random: Random, end: str, cuts: list[int]
) -> None:
    completion["choices"] = [{"index": index} | choice for index, choice in enumerate(completion["choices"])]
    body = Chunker(random).body(completion, end)
    response = read_response(CHAT, list(enumerate(pieces(body, cuts))), content_type="text/event-stream")
    assert response.problems == []
    assert exact(response.completion) == exact(completion)
    assert response.done
    assert response.finished
    assert exact(rebuild_completion(flatten_completion(response.completion))) == exact(completion)


LONG_BODIES: dict[str, Callable[[], bytes]] = {
    "short events": lambda: event('"content":"word "') * 60_000,
    "one long event": lambda: event('"content":"' + "word " * 1_000_000 + '"'),
    "no end of a line": lambda: b"data: " + b"x" * 5_000_000,
    "blanks": lambda: b"\n " * 2_500_000,
    "comments": lambda: b": keep-alive\n\n" * 350_000,
    "fields without value": lambda: b"data\n" * 1_000_000,
    "tool calls": lambda: b"".join(
        event(f'"tool_calls":[{{"index":{n},"id":"c{n}","function":{{"name":"f","arguments":"{{}}"}}}}]')
        for n in range(45_000)
    ),
    "arguments": lambda: event('"tool_calls":[{"function":{"name":"f","arguments":"}"}}]') * 45_000,
    "parts": lambda: event('"content":[{"type":"text","text":"word "}]') * 60_000,
    "log probabilities": lambda: event("", ',"logprobs":{"content":[{"token":"a","logprob":-0.5}]}') * 45_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG_BODIES)
def test_five_megabytes_in_small_chunks_take_seconds(name: str) -> None:
    body = LONG_BODIES[name]()
    chunks = [(start, body[start : start + 64]) for start in range(0, len(body), 64)]
    began = time.process_time()
    read_response(CHAT, chunks, content_type="text/event-stream")
    assert time.process_time() - began < 20
