"""The chunks of a completion: they are read as that completion, and have the recorded sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.strategies import any_body, examples
from tests.support.journals.streams import CHAT, STREAMS, exact, expected, one_chunk, read

from tapeline.pipeline.apis.base import ParsedResponse
from tapeline.pipeline.apis.body_reader import read_response
from tapeline.pipeline.apis.chat_completions.chunks import make_chunks, natural_sizes
from tapeline.pipeline.wire.json_text import dumps

COMPLETIONS = [path for path in STREAMS if expected(path)["completion"] is not None]
STREAMED = [path for path in COMPLETIONS if expected(path)["streamed"]]
# Sizes differ here: text in parts is not cut, a surrogate pair is one character, a name comes once.
OTHER_SIZES = {
    "content_in_parts",
    "content_in_parts_after_text",
    "reasoning_summaries",
    "surrogate_pair_in_two_deltas",
    "tool_call_and_function_call",
    "tool_call_name_in_every_delta",
    "types_that_change",
}


def body_of(chunks: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: %b\n\n" % dumps(chunk).encode() for chunk in chunks)


def assembled(chunks: list[dict[str, Any]]) -> ParsedResponse:
    return read_response(CHAT, [(1, body_of(chunks))], content_type="text/event-stream")


def recorded_sizes(response: ParsedResponse) -> list[int]:
    return response.event_sizes[:-1] if response.done else response.event_sizes


@pytest.mark.parametrize("usage_apart", [False, True])
@pytest.mark.parametrize("path", COMPLETIONS, ids=lambda path: path.stem)
def test_chunks_are_read_as_the_completion(path: Path, usage_apart: bool) -> None:
    response = read(one_chunk(path.read_bytes()), path)
    assert response.completion is not None
    natural = natural_sizes(response.completion, usage_apart=usage_apart)
    sizes = recorded_sizes(response) if response.streamed else natural
    for wanted in (sizes, natural, [1], [0, 0, 0, 0, 1000]):
        chunks = make_chunks(response.completion, wanted, usage_apart=usage_apart)
        again = assembled(chunks)
        # Reading a stream adds `choices` where the completion has none.
        assert exact(again.completion) == exact({"choices": [], **response.completion})
        assert again.problems == []
        assert len(chunks) == len(wanted)


@pytest.mark.parametrize("path", STREAMED, ids=lambda path: path.stem)
def test_chunks_have_the_recorded_sizes(path: Path) -> None:
    response = read(one_chunk(path.read_bytes()), path)
    assert response.completion is not None
    again = assembled(make_chunks(response.completion, recorded_sizes(response)))
    assert (again.event_sizes == recorded_sizes(response)) == (path.stem not in OTHER_SIZES)


@examples
@given(any_body, st.lists(st.integers(0, 9), min_size=1, max_size=12), st.booleans())
def test_any_completion_can_be_cut_into_any_sizes(body: bytes, sizes: list[int], usage_apart: bool) -> None:
    response = read_response(CHAT, [(1, body)], content_type="text/event-stream")
    if response.streamed and response.completion is not None:
        again = assembled(make_chunks(response.completion, sizes, usage_apart=usage_apart))
        assert exact(again.completion) == exact(response.completion)


def completion(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": list(choices), **more}


def choice_with(index: int, text: str) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}


def test_a_stream_begins_with_the_role_and_ends_with_the_reason_and_usage() -> None:
    chunks = make_chunks(
        completion(choice_with(0, "Hello"), usage={"total_tokens": 3}), [0, 3, 2, 0, 0], usage_apart=True
    )
    assert [chunk["choices"] for chunk in chunks] == [
        [{"index": 0, "finish_reason": None, "delta": {"role": "assistant", "content": ""}}],
        [{"index": 0, "finish_reason": None, "delta": {"content": "Hel"}}],
        [{"index": 0, "finish_reason": None, "delta": {"content": "lo"}}],
        [{"index": 0, "finish_reason": "stop", "delta": {}}],
        [],
    ]
    assert [chunk["usage"] for chunk in chunks] == [None, None, None, None, {"total_tokens": 3}]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_usage_comes_with_the_finish_reason_unless_it_is_asked_for() -> None:
    chunks = make_chunks(completion(choice_with(0, "Hello"), usage={"total_tokens": 3}), [0, 5, 0])
    assert [chunk.get("usage") for chunk in chunks] == [None, None, {"total_tokens": 3}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_choices_take_turns_and_end_after_their_text() -> None:
    chunks = make_chunks(completion(choice_with(0, "ab"), choice_with(1, "cdef")), [0, 0, 1, 1, 1, 1, 0, 2, 0])
    assert [
        [(choice["index"], choice["delta"].get("content"), choice["finish_reason"]) for choice in chunk["choices"]]
        for chunk in chunks
    ] == [
        [(0, "", None)],
        [(1, "", None)],
        [(0, "a", None)],
        [(1, "c", None)],
        [(0, "b", None)],
        [(1, "d", None)],
        [(0, None, "stop")],
        [(1, "ef", None)],
        [(1, None, "stop")],
    ]


def test_a_tool_call_is_named_first_and_its_arguments_follow() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "find", "arguments": '{"x":1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    chunks = make_chunks(completion(choice), [0, 4, 5, 2, 0])
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "find", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {},
    ]


def test_kinds_of_text_come_in_the_given_order() -> None:
    message = {"role": "assistant", "content": "Yes", "reasoning_content": "Hm"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    for kinds in (("reasoning", "content", "tool_call"), ("content", "reasoning", "tool_call")):
        chunks = make_chunks(completion(choice), [0, 1, 4, 0], kinds)
        first = next(iter(chunks[1]["choices"][0]["delta"]))
        assert first.removesuffix("_content") == kinds[0]
