"""Which response a request continues: the keys of a history, and the changes by clients that must not matter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tapeline.pipeline.apis.chat_completions.conversation import answer_keys, read_history
from tapeline.pipeline.apis.chat_completions.request import read_request

Message = dict[str, Any]

SYSTEM = {"role": "system", "content": "Be brief"}
USER = {"role": "user", "content": "Hello"}
NEXT = {"role": "user", "content": "And now?"}
RESPONSE = {"role": "assistant", "content": "Yes"}
CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1,"b":2}'}}],
}


def request_keys(*messages: Any) -> list[int]:
    """Return the keys of a request's history, read from a body."""
    return read_request(json.dumps({"messages": messages}).encode()).columns["history_keys"] or []


def response_keys(*messages: Any, response: Any, more: list[Any] | None = None) -> list[int]:
    """Return the keys of the choices that a request got."""
    request = read_request(json.dumps({"messages": messages}).encode())
    assert request.history is not None
    choices = [{"index": index, "message": message} for index, message in enumerate([response, *(more or [])])]
    return answer_keys(request.history, {"choices": choices})


def continues(keys_of_request: list[int], keys_of_response: list[int]) -> bool:
    return bool(set(keys_of_request) & set(keys_of_response))


def test_a_request_with_the_messages_and_the_response_continues_them() -> None:
    assert continues(request_keys(SYSTEM, USER, RESPONSE, NEXT), response_keys(SYSTEM, USER, response=RESPONSE))


def test_a_history_has_a_key_for_each_response() -> None:
    first, second = response_keys(USER, response=RESPONSE), response_keys(USER, RESPONSE, NEXT, response=CALLS)
    tool = {"role": "tool", "content": "1", "tool_call_id": "c1"}
    assert request_keys(USER, RESPONSE, NEXT, CALLS, tool) == first + second


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        pytest.param(RESPONSE | {"refusal": None, "annotations": []}, RESPONSE, id="fields of the provider dropped"),
        pytest.param(RESPONSE | {"reasoning_content": "Hm"}, RESPONSE, id="reasoning dropped"),
        pytest.param(RESPONSE, RESPONSE | {"name": "bot"}, id="a field added"),
        pytest.param(RESPONSE | {"content": "Yes\n"}, RESPONSE, id="text trimmed"),
        pytest.param(RESPONSE, RESPONSE | {"content": [{"type": "text", "text": "Yes"}]}, id="text in a part"),
        pytest.param(
            RESPONSE | {"content": [{"type": "text", "text": "Ye"}, {"type": "text", "text": "s"}]},
            RESPONSE,
            id="parts",
        ),
        pytest.param(CALLS, CALLS | {"content": ""}, id="no text as empty text"),
        pytest.param(
            CALLS,
            {
                "role": "assistant",
                "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": '{"b": 2.0, "a": 1}'}}],
            },
            id="other ids and another spelling of the arguments",
        ),
        pytest.param(
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{ }"}},
            id="legacy function call",
        ),
        pytest.param(
            {"role": "assistant", "content": None, "refusal": "No."},
            {"role": "assistant", "content": "No."},
            id="refusal as text",
        ),
        pytest.param(
            {"role": "assistant", "content": None, "audio": {"id": "audio_1", "data": "UklG", "transcript": "Yes"}},
            {"role": "assistant", "audio": {"id": "audio_1"}},
            id="audio by its id",
        ),
    ],
)
def test_changes_by_clients_in_a_response_do_not_matter(received: Message, sent: Message) -> None:
    assert continues(request_keys(USER, sent, NEXT), response_keys(USER, response=received))


@pytest.mark.parametrize(
    "earlier",
    [
        pytest.param({"role": "user", "content": [{"type": "text", "text": "Hello"}]}, id="text in a part"),
        pytest.param(
            {"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]},
            id="a part marked for the cache",
        ),
        pytest.param(USER | {"cache_control": {"type": "ephemeral"}}, id="marked for the cache"),
    ],
)
def test_cache_marks_do_not_matter(earlier: Message) -> None:
    assert continues(request_keys(SYSTEM, USER, RESPONSE, NEXT), response_keys(SYSTEM, earlier, response=RESPONSE))
    assert continues(request_keys(SYSTEM, earlier, RESPONSE, NEXT), response_keys(SYSTEM, USER, response=RESPONSE))


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param((USER, RESPONSE, NEXT), id="system prompt dropped"),
        pytest.param((SYSTEM | {"content": "Be long"}, USER, RESPONSE, NEXT), id="system prompt edited"),
        pytest.param((SYSTEM, USER | {"content": "Hello!"}, RESPONSE, NEXT), id="user message edited"),
        pytest.param((SYSTEM, USER, RESPONSE | {"content": "No"}, NEXT), id="response edited"),
        pytest.param((SYSTEM, USER, NEXT), id="response dropped"),
        pytest.param((SYSTEM, NEXT, USER, RESPONSE), id="message inserted"),
        pytest.param((SYSTEM, USER | {"role": "developer"}, RESPONSE, NEXT), id="role changed"),
        pytest.param(
            (SYSTEM, USER, {"role": "assistant", "content": "Yes", "tool_calls": CALLS["tool_calls"]}), id="call added"
        ),
        pytest.param((), id="no messages"),
    ],
)
def test_another_history_does_not_continue_it(messages: tuple[Message, ...]) -> None:
    assert not continues(request_keys(*messages), response_keys(SYSTEM, USER, response=RESPONSE))


def test_ids_of_calls_distinguish_responses_with_the_same_text() -> None:
    other = json.loads(json.dumps(CALLS).replace("c1", "c2"))
    plain, with_ids = response_keys(USER, response=CALLS)
    assert response_keys(USER, response=other)[0] == plain
    assert response_keys(USER, response=other)[1] != with_ids
    # The key with the ids comes last, and the last key that matches decides.
    assert request_keys(USER, CALLS) == [plain, with_ids]


def test_each_choice_can_be_continued() -> None:
    keys = response_keys(USER, response=RESPONSE, more=[RESPONSE | {"content": "No"}, RESPONSE])
    assert len(keys) == 2
    for content in ("Yes", "No"):
        assert continues(request_keys(USER, RESPONSE | {"content": content}, NEXT), keys)


@pytest.mark.parametrize(
    "response", [None, "text", {}, {"content": ""}, {"content": None, "tool_calls": []}, {"tool_calls": {}}]
)
def test_a_response_without_text_or_calls_has_no_key(response: Any) -> None:
    assert response_keys(USER, response=response) == []


@pytest.mark.parametrize("completion", [None, {}, {"choices": None}, {"choices": [None, {}, {"message": 1}]}])
def test_without_a_response_there_are_no_keys(completion: Any) -> None:
    assert answer_keys(read_history([USER], ["0"]), completion) == []


@pytest.mark.parametrize(
    "message",
    [
        None,
        1,
        "text",
        {"role": "assistant", "content": 5, "tool_calls": [None, {"function": 1}]},
        {"content": [1, None]},
    ],
)
def test_messages_of_unexpected_types_are_read(message: Any) -> None:
    assert continues(request_keys(message, RESPONSE), response_keys(message, response=RESPONSE))
