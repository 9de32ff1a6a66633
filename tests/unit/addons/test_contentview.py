"""What mitmproxy's interfaces show of a chat completion: the conversation and the answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.contentviews import Metadata
from tests.support.clients.wire import DONE, FINISH, event
from tests.support.places import DATA

from tapeline.addons.tapeline_recorder.contentview import ChatContentview, request_lines, response_lines

STREAMS = DATA / "streams"
SHAPES = sorted(path for path in STREAMS.glob("*.sse"))


def test_a_request_is_its_parameters_and_its_conversation() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Bonn"}'}}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 10_000}"}}
    request = {
        "model": "m",
        "temperature": 0,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "What is this?"}, image]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"},
        ],
    }
    *lines, image_line, a_gap, assistant, called, another_gap, tool, text, call_id = request_lines(json.dumps(request))
    assert lines == ["model: m", "temperature: 0", "", "system:", "Be brief.", "", "user (ann):", "What is this?"]
    assert len(image_line) < 250
    assert image_line.endswith("(10,071 characters)")
    assert (assistant, called) == ("assistant:", '[tool call] get_weather({"city":"Bonn"})')
    assert (a_gap, another_gap, tool, text, call_id) == ("", "", "tool:", "12 °C", "[tool_call_id] call_1")


def test_a_stream_is_the_answer_it_adds_up_to() -> None:
    text = (event("One\u2028") + event(" two") + FINISH + DONE).decode()
    assert list(response_lines(text)) == ["model: m", "", "assistant:", "One\u2028 two", "[finish reason] stop"]


def test_parts_and_the_older_way_of_calling_are_shown() -> None:
    message = {
        "content": [{"type": "text", "text": "See"}, {"type": "reference", "reference_ids": [1]}],
        "function_call": {"name": "look", "arguments": "{}"},
    }
    answer = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    shown = "\n".join(response_lines(answer))
    assert 'See[{"type": "reference", "reference_ids": [1]}]' in shown
    assert "[tool call] look({})" in shown


@pytest.mark.parametrize(
    "choice", [{"delta": "x"}, {"delta": {"tool_calls": [5]}}, {"delta": {"tool_calls": [{"function": "f"}]}}]
)
def test_what_is_of_no_kind_is_refused(choice: dict[str, Any]) -> None:
    answer = json.dumps({"choices": [{"index": None, **choice}, {"index": 1, **choice}]}).encode()
    with pytest.raises(ValueError, match="no chat completion"):
        ChatContentview(lambda flow: True).prettify(answer, Metadata())


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_every_shape_is_shown_or_refused(path: Path) -> None:
    """What it refuses mitmproxy shows raw; of what is shown, no text of the answer is missing."""
    try:
        shown = "\n".join(response_lines(path.read_bytes().decode("utf-8", "replace")))
    except (ValueError, TypeError, AttributeError):
        return
    expected = json.loads(path.with_suffix(".json").read_bytes())
    for choice in (expected["completion"] or {}).get("choices", []) if expected["lossless"] else []:
        content = (choice.get("message") or {}).get("content")
        # Half a character is a replacement character to the eye.
        assert not isinstance(content, str) or re.sub("[\ud800-\udfff]", "\ufffd", content) in shown


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"a": 1}', "<html>"])
def test_what_is_no_chat_completion_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever its words are, mitmproxy shows the body raw
        list(response_lines(text))
    with pytest.raises(ValueError):  # noqa: PT011
        list(request_lines(text))
