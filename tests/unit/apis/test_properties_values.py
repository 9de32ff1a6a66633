"""What holds for any JSON value and any completion: it comes back as it was, by text, by columns and by chunks."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.chunker import Chunker
from tests.support.journals.strategies import cuts, examples, json_value, object_with, pieces, scraps, text
from tests.unit.apis.chat_completions.test_stream import CHAT, exact

from tapeline.pipeline.apis.body_reader import read_response
from tapeline.pipeline.apis.chat_completions.columns import flatten_completion, rebuild_completion
from tapeline.pipeline.wire.json_text import NOT_JSON, canonical, dumps, loads

pytestmark = pytest.mark.slow

# JSON.

NUMBER = r"\A-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,5})?\Z"


@examples
@given(json_value)
def test_json_comes_back_as_it_was(value: Any) -> None:
    written = dumps(value)
    written.encode("utf-8")
    assert exact(loads(written)) == exact(value)
    assert exact(loads(written.encode())) == exact(value)
    assert exact(loads(canonical(value))) == exact(loads(canonical(loads(written))))


@examples
@given(st.from_regex(NUMBER))
def test_a_number_keeps_its_digits(digits: str) -> None:
    assert Decimal(dumps(loads(digits))).as_tuple() == Decimal(digits).as_tuple()


@examples
@given(text)
def test_a_string_keeps_its_characters(value: str) -> None:
    assert loads(dumps(value)) == loads(json.dumps(value))


@examples
@given(st.binary(max_size=30) | scraps)
def test_bytes_that_are_no_json_are_a_value(data: bytes) -> None:
    value = loads(data)
    if value is not NOT_JSON:
        assert exact(loads(dumps(value))) == exact(value)


def respelled(value: Any, zeros: int) -> str:
    """JSON text of the value with its keys turned round and its numbers spelled otherwise."""
    if isinstance(value, dict):
        members = [f"{json.dumps(name)}: {respelled(member, zeros)}" for name, member in reversed(value.items())]
        return "{ " + " , ".join(members) + "\n}"
    if isinstance(value, list):
        return "[" + ", ".join(respelled(member, zeros) for member in value) + "]"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        sign, digits, exponent = Decimal(value).as_tuple()
        assert isinstance(exponent, int)
        zeros = zeros if value else 0
        return f"{'-' * sign}{''.join(map(str, digits))}{'0' * zeros}e{exponent - zeros}"
    return json.dumps(value)


@examples
@given(json_value, st.integers(0, 3))
def test_canonical_json_depends_on_the_value_alone(value: Any, zeros: int) -> None:
    assert canonical(loads(respelled(value, zeros))) == canonical(value)


@examples
@given(st.from_regex(NUMBER), st.from_regex(NUMBER))
def test_canonical_json_tells_numbers_apart(one: str, other: str) -> None:
    assert (canonical(loads(one)) == canonical(loads(other))) == (Decimal(one) == Decimal(other))


# Completions in columns.


call_body = object_with(name=text, arguments=text, input=text)
tool_call = object_with(
    index=st.integers(0, 3), id=text, type=st.just("function"), function=call_body, custom=call_body
)
message = object_with(
    role=st.just("assistant"),
    content=text,
    refusal=text,
    reasoning=text,
    reasoning_content=text,
    thought=text,
    tool_calls=st.lists(tool_call, max_size=3),
    function_call=call_body,
)
choice = object_with(
    index=st.integers(0, 3), message=message, finish_reason=text, logprobs=json_value, log_probs=json_value, text=text
)
completion = object_with(
    id=text,
    object=text,
    model=text,
    created=st.integers(),
    system_fingerprint=text,
    service_tier=text,
    choices=st.lists(choice, max_size=3),
    usage=json_value,
)


@examples
@given(completion)
def test_a_completion_comes_back_from_its_columns(completion: dict[str, Any]) -> None:
    completion = loads(dumps(completion))
    assert exact(rebuild_completion(flatten_completion(completion))) == exact(completion)


# Completions in chunks.

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


@examples
@given(whole_completion, st.randoms(use_true_random=False), st.sampled_from(["\n", "\r", "\r\n"]), cuts)
def test_a_completion_cut_into_chunks_is_put_together_again(
    completion: dict[str, Any], random: Random, end: str, cuts: list[int]
) -> None:
    completion["choices"] = [{"index": index} | choice for index, choice in enumerate(completion["choices"])]
    body = Chunker(random).body(completion, end)
    answer = read_response(CHAT, list(enumerate(pieces(body, cuts))), content_type="text/event-stream")
    assert answer.problems == []
    assert exact(answer.completion) == exact(completion)
    assert answer.done
    assert answer.finished
    assert exact(rebuild_completion(flatten_completion(answer.completion))) == exact(completion)
