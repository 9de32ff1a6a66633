"""Requests: their columns, contents and fingerprints, and bodies that are no request."""

from __future__ import annotations

import gzip
import json
from typing import Any

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.strategies import any_body, examples, json_value, number, object_with, text
from tests.support.journals.streams import CODINGS, exact

from tapeline.pipeline.apis.base import Content, ParsedRequest
from tapeline.pipeline.apis.chat_completions.request import (
    VOLATILE_FIELDS,
    plain_text,
    read_request,
    rebuild_request,
)
from tapeline.pipeline.apis.rows import RequestColumns, all_null
from tapeline.pipeline.wire.json_text import content_hash, dumps, loads

REQUEST: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "Hello"}],
    "temperature": 0.5,
    "stream": True,
}


def parsed(**fields: Any) -> ParsedRequest:
    return read_request(json.dumps(REQUEST | fields).encode())


def columns_of(request: ParsedRequest) -> dict[str, Any]:
    """Return the columns, for tests that read them by names they compute."""
    return {**request.columns}


def column(name: str, **fields: Any) -> Any:
    return columns_of(parsed(**fields))[name]


def rebuilt(request: ParsedRequest) -> Any:
    by_id = {content.content_id: loads(content.json) for content in request.contents}
    return rebuild_request(request.columns, by_id.get)


MESSAGES: dict[str, tuple[Any, str | None, str, list[str]]] = {
    "system": ({"role": "system", "content": "Be brief"}, "system", "Be brief", []),
    "developer": ({"role": "developer", "content": "Be brief"}, "developer", "Be brief", []),
    "user": ({"role": "user", "content": "Hé\0"}, "user", "Hé\0", []),
    "assistant with calls": (
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": {"name": "f"}}]},
        "assistant",
        "",
        [],
    ),
    "tool": ({"role": "tool", "tool_call_id": "a", "content": "18"}, "tool", "18", []),
    "function": ({"role": "function", "name": "f", "content": "18"}, "function", "18", []),
    "parts": (
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
                {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
                {"type": "file", "file": {"file_id": "f1"}},
                {"type": "video_url", "video_url": {"url": "https://a"}},
                {"type": "document", "source": {"type": "text", "data": "x"}},
                {"type": "text", "text": "here"},
            ],
        },
        "user",
        "Look\nhere",
        ["document", "file", "image_url", "input_audio", "text", "video_url"],
    ),
    "refusal part": (
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]},
        "assistant",
        "",
        ["refusal"],
    ),
    "parts of no kind": ({"role": "user", "content": ["a", None, {"text": 7}, {"type": 8}]}, "user", "", []),
    "half a surrogate pair": ({"role": "us\ud800er", "content": "a\udc00"}, "us\ufffder", "a\ufffd", []),
    "no role": ({"content": "Hello"}, None, "Hello", []),
    "role of no kind": ({"role": 7, "content": 8}, None, "", []),
    "no object": ("Hello", None, "", []),
    "null": (None, None, "", []),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message(name: str) -> None:
    message, role, text, kinds = MESSAGES[name]
    request = parsed(messages=[message])
    (content,) = request.contents
    assert content == Content(content_hash(message), "message", role, text, dumps(message))
    assert loads(content.json) == message
    assert request.columns["message_ids"] == [content.content_id]
    assert request.columns["content_part_types"] == kinds
    assert request.columns["prompt_characters"] == len(text)


def test_messages_are_counted() -> None:
    messages = [MESSAGES["parts"][0], MESSAGES["user"][0], MESSAGES["user"][0]]
    columns = columns_of(parsed(messages=messages))
    assert columns["message_count"] == 3
    assert columns["content_part_count"] == 7
    assert columns["message_ids"][1] == columns["message_ids"][2]
    assert columns["prompt_characters"] == len("Look\nhere") + 2 * len("Hé\0")


TYPED: list[tuple[str, Any, Any]] = [
    ("model", "m", "m"),
    ("model", 7, None),
    ("model", "a\ud800", "a\ufffd"),
    ("stream", False, False),
    ("stream", 1, None),
    ("stream", "true", None),
    ("n", 2, 2),
    ("n", True, None),
    ("n", "2", None),
    ("seed", -(2**63), -(2**63)),
    ("seed", 2**63, None),
    ("max_tokens", 5.5, None),
    ("max_tokens", 5, 5),
    ("temperature", 1, 1.0),
    ("temperature", 0.25, 0.25),
    ("temperature", True, None),
    ("temperature", "hot", None),
    ("top_p", None, None),
    ("max_completion_tokens", 9, 9),
    ("reasoning_effort", "xhigh", "xhigh"),
    ("service_tier", "flex", "flex"),
    ("user", "u", "u"),
    ("tool_choice", "auto", "auto"),
    ("tool_choice", "", ""),
    ("tool_choice", None, None),
    ("tool_choice", {"type": "function"}, '{"type":"function"}'),
]


@pytest.mark.parametrize(("name", "value", "wanted"), TYPED)
def test_a_parameter_fills_its_column_if_the_type_fits(name: str, value: Any, wanted: Any) -> None:
    columns = columns_of(parsed(**{name: value}))
    assert columns[name] == wanted
    assert type(columns[name]) is type(wanted)
    assert loads(columns["request_params"])[name] == value


@pytest.mark.parametrize(
    "digits",
    [
        "1e400",
        "-1e400",
        "1e999999999",
        pytest.param("9" * 400, id="400 digits"),
        pytest.param("9" * 5000, id="5000 digits"),
    ],
)
def test_huge_numbers_leave_their_columns_empty(digits: str) -> None:
    request = read_request(b'{"temperature": %s, "seed": %s}' % (digits.encode(), digits.encode()))
    assert request.columns["temperature"] is None
    assert request.columns["seed"] is None


def test_parameters_within_objects() -> None:
    assert column("response_format_type", response_format={"type": "json_schema"}) == "json_schema"
    assert column("response_format_type", response_format="json") is None
    assert column("include_usage", stream_options={"include_usage": True}) is True
    assert column("include_usage", stream_options={"include_usage": None}) is None
    assert column("include_usage", stream_options=[]) is None


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def test_tools_and_functions_are_stored_once_each() -> None:
    request = parsed(tools=TOOLS, functions=[{"name": "g"}, {"name": "h"}])
    kinds = {content.kind: content for content in request.contents}
    assert request.columns["tools_id"] == kinds["tools"].content_id == content_hash(TOOLS)
    assert request.columns["functions_id"] == kinds["functions"].content_id
    assert request.columns["tool_count"] == 3
    assert (kinds["tools"].role, kinds["tools"].text) == (None, None)
    assert loads(kinds["tools"].json) == TOOLS
    assert set(loads(columns_of(request)["request_params"])) == {"model", "temperature", "stream"}


def test_lists_of_another_type_stay_among_the_parameters() -> None:
    request = parsed(messages="Hello", tools={}, functions=None)
    assert request.contents == ()
    assert request.columns["message_ids"] is None
    assert request.columns["tool_count"] == 0
    assert rebuilt(request) == REQUEST | {"messages": "Hello", "tools": {}, "functions": None}


def test_extensions_of_proxies_are_kept() -> None:
    extensions = {"guardrails": ["pii"], "fallbacks": [{"model": "b"}], "num_retries": 2, "top_k": 40, "min_p": 0.10}
    assert rebuilt(parsed(**extensions)) == loads(json.dumps(REQUEST | extensions))


@pytest.mark.parametrize("name", VOLATILE_FIELDS)
def test_volatile_fields_do_not_change_the_fingerprint(name: str) -> None:
    assert column("request_fingerprint", **{name: "x"}) == column("request_fingerprint")


@pytest.mark.parametrize("change", [{"temperature": 0.6}, {"model": "b"}, {"messages": []}, {"n": 1}, {"top_k": None}])
def test_everything_else_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert column("request_fingerprint", **change) != column("request_fingerprint")


def test_fingerprints_do_not_depend_on_how_the_json_is_written() -> None:
    one = columns_of(read_request(b'{"a":1,"messages":[{"role":"user","content":"\xc3\xa9"}]}'))
    other = columns_of(read_request(b'{ "messages": [ {"content":"\\u00e9","role":"user"} ], "a": 1.0 }'))
    for name in ("request_fingerprint", "messages_fingerprint", "message_ids"):
        assert one[name] == other[name]


def test_the_messages_have_a_fingerprint_of_their_own() -> None:
    assert column("messages_fingerprint", temperature=1, model="b") == column("messages_fingerprint")
    assert column("messages_fingerprint", messages=[]) != column("messages_fingerprint")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", None),
        (b"hello", "hello"),
        (b"[1]", "[1]"),
        (b"null", "null"),
        (b'{"model": "m", "mess', '{"model": "m", "mess'),
        (b"\xff\xfe{", "base64://57"),
        (b'{"a": "\xff"}', "base64:eyJhIjogIv8ifQ=="),
        (b'{"a": NaN}', '{"a": NaN}'),
    ],
)
def test_a_body_that_is_no_json_object_is_kept_as_text(body: bytes, text: str | None) -> None:
    assert read_request(body) == ParsedRequest({**all_null(RequestColumns), "request_text": text}, ())


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 500 + "1" + "}" * 500], ids=["no end", "500 levels"])
def test_a_body_that_is_too_deep_is_kept_as_text(body: str) -> None:
    assert read_request(body.encode()) == ParsedRequest({**all_null(RequestColumns), "request_text": body}, ())


def test_a_byte_order_mark_is_no_part_of_the_request() -> None:
    assert read_request(b'\xef\xbb\xbf{"model": "m"}').columns["model"] == "m"


def test_a_coded_body_is_read() -> None:
    body = json.dumps(REQUEST).encode()
    plain = read_request(body)
    assert read_request(gzip.compress(body), "gzip") == plain
    assert read_request(brotli.compress(body), "br") == plain


@pytest.mark.parametrize("coding", ["br", "compress"])
def test_a_body_that_cannot_be_decoded_is_kept_as_it_is(coding: str) -> None:
    for body, kept in ((b"\xff{}", "base64:/3t9"), (b"{}", "{}")):
        assert read_request(body, coding).columns == {**all_null(RequestColumns), "request_text": kept}


def test_values_that_are_no_message_have_no_text() -> None:
    odd: list[Any] = [None, 7, [], {}, {"content": {}}]
    assert [plain_text(value) for value in odd] == [""] * 5


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
def test_any_body_is_read(body: bytes, coding: str) -> None:
    request = read_request(body, coding)
    assert len({content.content_id for content in request.contents}) <= len(request.contents)


@examples
@given(request_body)
def test_any_request_comes_back_from_its_columns_and_contents(payload: dict[str, Any]) -> None:
    payload = loads(dumps(payload))
    assert exact(rebuilt(read_request(dumps(payload).encode()))) == exact(payload)
