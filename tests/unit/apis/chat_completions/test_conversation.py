"""Which answer a request goes on from: the keys of a history, and what clients change in it without harm."""

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
ANSWER = {"role": "assistant", "content": "Yes"}
CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1,"b":2}'}}],
}


def keys_sent(*messages: Any) -> list[int]:
    """The keys of a request's history, through the request's body."""
    return list(read_request(json.dumps({"messages": messages}).encode()).columns["history_keys"])


def keys_got(*messages: Any, answer: Any, more: list[Any] | None = None) -> list[int]:
    """The keys of the answers to a request."""
    question = read_request(json.dumps({"messages": messages}).encode())
    assert question.history is not None
    choices = [{"index": index, "message": message} for index, message in enumerate([answer, *(more or [])])]
    return answer_keys(question.history, {"choices": choices})


def goes_on(sent: list[int], got: list[int]) -> bool:
    return bool(set(sent) & set(got))


def test_a_request_that_holds_messages_and_answer_goes_on_from_them() -> None:
    assert goes_on(keys_sent(SYSTEM, USER, ANSWER, NEXT), keys_got(SYSTEM, USER, answer=ANSWER))


def test_a_history_has_a_key_for_each_answer() -> None:
    first, second = keys_got(USER, answer=ANSWER), keys_got(USER, ANSWER, NEXT, answer=CALLS)
    assert (
        keys_sent(USER, ANSWER, NEXT, CALLS, {"role": "tool", "content": "1", "tool_call_id": "c1"}) == first + second
    )


@pytest.mark.parametrize(
    ("answered", "sent"),
    [
        pytest.param(ANSWER | {"refusal": None, "annotations": []}, ANSWER, id="fields of the provider dropped"),
        pytest.param(ANSWER | {"reasoning_content": "Hm"}, ANSWER, id="reasoning dropped"),
        pytest.param(ANSWER, ANSWER | {"name": "bot"}, id="a field added"),
        pytest.param(ANSWER | {"content": "Yes\n"}, ANSWER, id="text trimmed"),
        pytest.param(ANSWER, ANSWER | {"content": [{"type": "text", "text": "Yes"}]}, id="text in a part"),
        pytest.param(
            ANSWER | {"content": [{"type": "text", "text": "Ye"}, {"type": "text", "text": "s"}]}, ANSWER, id="parts"
        ),
        pytest.param(CALLS, CALLS | {"content": ""}, id="no text as empty text"),
        pytest.param(
            CALLS,
            {
                "role": "assistant",
                "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": '{"b": 2.0, "a": 1}'}}],
            },
            id="ids and arguments written anew",
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
def test_what_clients_change_in_an_answer_does_no_harm(answered: Message, sent: Message) -> None:
    assert goes_on(keys_sent(USER, sent, NEXT), keys_got(USER, answer=answered))


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
def test_cache_marks_move_without_harm(earlier: Message) -> None:
    assert goes_on(keys_sent(SYSTEM, USER, ANSWER, NEXT), keys_got(SYSTEM, earlier, answer=ANSWER))
    assert goes_on(keys_sent(SYSTEM, earlier, ANSWER, NEXT), keys_got(SYSTEM, USER, answer=ANSWER))


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param((USER, ANSWER, NEXT), id="system prompt dropped"),
        pytest.param((SYSTEM | {"content": "Be long"}, USER, ANSWER, NEXT), id="system prompt edited"),
        pytest.param((SYSTEM, USER | {"content": "Hello!"}, ANSWER, NEXT), id="question edited"),
        pytest.param((SYSTEM, USER, ANSWER | {"content": "No"}, NEXT), id="answer edited"),
        pytest.param((SYSTEM, USER, NEXT), id="answer dropped"),
        pytest.param((SYSTEM, NEXT, USER, ANSWER), id="message put in between"),
        pytest.param((SYSTEM, USER | {"role": "developer"}, ANSWER, NEXT), id="role changed"),
        pytest.param(
            (SYSTEM, USER, {"role": "assistant", "content": "Yes", "tool_calls": CALLS["tool_calls"]}), id="call added"
        ),
        pytest.param((), id="no messages"),
    ],
)
def test_another_history_goes_on_from_elsewhere(messages: tuple[Message, ...]) -> None:
    assert not goes_on(keys_sent(*messages), keys_got(SYSTEM, USER, answer=ANSWER))


def test_ids_of_calls_tell_answers_apart_that_say_the_same() -> None:
    other = json.loads(json.dumps(CALLS).replace("c1", "c2"))
    plain, with_ids = keys_got(USER, answer=CALLS)
    assert keys_got(USER, answer=other)[0] == plain
    assert keys_got(USER, answer=other)[1] != with_ids
    # The key with the ids comes last, and the last that is found decides.
    assert keys_sent(USER, CALLS) == [plain, with_ids]


def test_each_choice_can_be_gone_on_from() -> None:
    got = keys_got(USER, answer=ANSWER, more=[ANSWER | {"content": "No"}, ANSWER])
    assert len(got) == 2
    for content in ("Yes", "No"):
        assert goes_on(keys_sent(USER, ANSWER | {"content": content}, NEXT), got)


@pytest.mark.parametrize(
    "answer", [None, "text", {}, {"content": ""}, {"content": None, "tool_calls": []}, {"tool_calls": {}}]
)
def test_an_answer_that_says_nothing_has_no_key(answer: Any) -> None:
    assert keys_got(USER, answer=answer) == []


@pytest.mark.parametrize("completion", [None, {}, {"choices": None}, {"choices": [None, {}, {"message": 1}]}])
def test_no_answer_has_no_keys(completion: Any) -> None:
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
def test_messages_of_no_kind_are_read(message: Any) -> None:
    assert keys_sent(message, ANSWER) == keys_got(message, answer=ANSWER)[:1] or keys_sent(message, ANSWER)
