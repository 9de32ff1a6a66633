"""Shows a chat completion in mitmproxy's interfaces as conversation and answer, not as JSON or events.

It is only for display, and simpler than sealing, which has rules of its own. A body that it cannot read is shown by
mitmproxy like any other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from mitmproxy import http
from mitmproxy.contentviews import Contentview, Metadata

# Above JSON and raw text, which have 1 or less.
_PRIORITY = 2.0
_DONE = "[DONE]"
_LINE_END = re.compile("\r\n|\n|\r")
_SHORT = 200


class ChatContentview(Contentview):
    """The view `chat completion`, for flows that `is_chat` accepts."""

    def __init__(self, is_chat: Callable[[http.HTTPFlow], bool]) -> None:
        self._is_chat = is_chat

    @property
    def name(self) -> str:
        return "chat completion"

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        flow = metadata.flow
        return _PRIORITY if data and isinstance(flow, http.HTTPFlow) and self._is_chat(flow) else -1

    def prettify(self, data: bytes, metadata: Metadata) -> str:
        """Raises ValueError for a body that is not a chat completion."""
        lines = request_lines if isinstance(metadata.http_message, http.Request) else response_lines
        try:
            return "\n".join(lines(data.decode("utf-8", "replace")))
        except (AttributeError, TypeError, RecursionError) as error:
            raise ValueError("no chat completion") from error


def request_lines(text: str) -> Iterator[str]:
    """Return a request as lines: parameters, then messages. Raises ValueError if the body is not one."""
    body = json.loads(text)
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        raise ValueError("no chat completion request")
    for name, value in body.items():
        if name != "messages":
            yield f"{name}: {_shortened(_plain(value))}"
    for message in body["messages"]:
        yield ""
        yield from _message(message)


def response_lines(text: str) -> Iterator[str]:
    """Return a response as lines, streamed or whole. Raises ValueError if the body is not one."""
    events = list(_events(text))
    if not events:
        events = [json.loads(text)]
    answer = _Completion()
    for event in events:
        answer.add(event)
    yield from answer.lines()


def _events(text: str) -> Iterator[Any]:
    """Yield the data of a stream's events (https://html.spec.whatwg.org/#parsing-an-event-stream)."""
    data: list[str] = []
    for line in [*_LINE_END.split(text.removeprefix("\ufeff")), ""]:
        field, _, value = line.partition(":")
        if field == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            joined, data = "\n".join(data), []
            if joined.strip() != _DONE:
                yield _parsed(joined)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"error": f"not JSON: {text}"}


class _Completion:
    """The chunks of a response, put together."""

    def __init__(self) -> None:
        self._model: Any = None
        self._usage: Any = None
        self._errors: list[Any] = []
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, event: Any) -> None:
        if not isinstance(event, dict):
            raise ValueError("no chat completion")
        self._model = event.get("model") or self._model
        self._usage = event.get("usage") or self._usage
        if event.get("error"):
            self._errors.append(event["error"])
        for position, choice in enumerate(_list(event.get("choices"))):
            if isinstance(choice, dict):
                self._add_choice(choice.get("index", position), choice)

    def _add_choice(self, index: int, choice: dict[str, Any]) -> None:
        kept = self._choices.setdefault(index, {"role": None, "calls": {}, "texts": {}, "finish_reason": None})
        kept["finish_reason"] = choice.get("finish_reason") or kept["finish_reason"]
        said = choice.get("delta") or choice.get("message") or {}
        kept["role"] = kept["role"] or said.get("role")
        for name, value in said.items():
            text = "".join(map(_part, value)) if name == "content" and isinstance(value, list) else value
            if isinstance(text, str) and name != "role":
                kept["texts"][name] = kept["texts"].get(name, "") + text
        legacy = said.get("function_call")
        for position, call in enumerate([*_list(said.get("tool_calls")), *([{"function": legacy}] if legacy else [])]):
            function = kept["calls"].setdefault(call.get("index", position), {"name": "", "arguments": ""})
            said_of_it = call.get("function") or {}
            function["name"] = function["name"] or said_of_it.get("name") or ""
            function["arguments"] += str(said_of_it.get("arguments") or "")

    def lines(self) -> Iterator[str]:
        if not (self._choices or self._errors or self._usage):
            raise ValueError("no chat completion")
        if self._model:
            yield f"model: {self._model}"
        for error in self._errors:
            yield f"error: {_plain(error)}"
        for index, choice in sorted(self._choices.items()):
            yield ""
            yield f"{choice['role'] or 'assistant'}{f' (choice {index})' if len(self._choices) > 1 else ''}:"
            for name, fragments in choice["texts"].items():
                text = _whole_characters(fragments)
                yield text if name == "content" else f"[{name}] {text}"
            for call in choice["calls"].values():
                yield f"[tool call] {call['name']}({call['arguments']})"
            yield f"[finish reason] {choice['finish_reason'] or 'none'}"
        if self._usage:
            yield ""
            yield f"usage: {_plain(self._usage)}"


def _message(message: Any) -> Iterator[str]:
    if not isinstance(message, dict):
        yield _plain(message)
        return
    name = f" ({message['name']})" if message.get("name") else ""
    yield f"{message.get('role', '?')}{name}:"
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        if part is not None:
            yield _part(part)
    for call in _list(message.get("tool_calls")):
        function = call.get("function") or {}
        yield f"[tool call] {function.get('name')}({function.get('arguments')})"
    for key, value in message.items():
        if value is not None and key not in ("role", "name", "content", "tool_calls"):
            yield f"[{key}] {_plain(value)}"


def _part(part: Any) -> str:
    """Return a part of a message as text; images and the like are cut to a line."""
    text = part.get("text") if isinstance(part, dict) else None
    if isinstance(text, str):
        return text
    return part if isinstance(part, str) else _shortened(f"[{_plain(part)}]")


def _whole_characters(text: str) -> str:
    """Join characters that were cut in two between events (UTF-16 surrogates)."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]} … ({len(text):,} characters)"
