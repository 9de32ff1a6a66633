"""Assembles the chunks of a chat-completion stream into the object that would have been sent without streaming.

Values in, values out: a chunk is a parsed JSON object, and so is the result. Choices and tool calls are keyed by
`index`. The last usage reported counts, never a sum. `merge` decides how the values of one field become one; unknown
fields are kept. The shape of chunks and completions is OpenAI's:
https://platform.openai.com/docs/api-reference/chat-streaming/streaming
"""

from __future__ import annotations

from typing import Any, TypeGuard

from ...wire.json_text import JsonObject, loads
from ..base import DeltaText
from ..merge import CONTENT_FIELDS, REASONING_FIELDS, Fields, Notes, Text

# Fields that exist only in a stream: padding that hides the length of the text (OpenAI's `obfuscation`).
STREAM_ONLY = frozenset(("obfuscation",))
_NOT_MERGED = STREAM_ONLY | {"usage", "choices"}
# Of the strings directly in a choice, only the text of a legacy completion comes in fragments.
_CHOICE_FRAGMENTS = frozenset(("text",))
# The fields of most deltas.
_PLAIN_DELTA = {"role", "content"}
_CALL_BODIES = ("function", "custom")


class ChatAssembler:
    """Assembles one stream of chat-completion chunks."""

    def __init__(self) -> None:
        self.usages: list[Any] = []
        self._notes: Notes = {}
        self._fields = Fields(self._notes, fragments=frozenset())
        self._choices: dict[int, _Choice] = {}

    @property
    def problems(self) -> list[str]:
        """What was guessed, or does not fit into one completion; complete only after `completion`."""
        return list(self._notes)

    @property
    def finished(self) -> bool:
        """Whether every choice that has begun has its finish reason."""
        return bool(self._choices) and all(choice.finished for choice in self._choices.values())

    def feed(self, payload: JsonObject) -> DeltaText:
        """Add one chunk."""
        text = DeltaText()
        self._add_usage(payload)
        for name, value in payload.items():
            if name not in _NOT_MERGED:
                self._fields.add(name, value)
        choices = payload.get("choices")
        if not isinstance(choices, list | None):
            self._notes["choices is not a list"] = None
        for position, choice in enumerate(choices if isinstance(choices, list) else []):
            if isinstance(choice, dict):
                self._add_choice(position, choice, text)
            else:
                self._notes["a choice is not an object"] = None
        return text

    def completion(self) -> JsonObject:
        """Return the object assembled so far."""
        completion = self._fields.merged()
        kind = completion.get("object")
        if isinstance(kind, str):
            completion["object"] = kind.removesuffix(".chunk")
        completion["choices"] = [self._choices[index].merged() for index in sorted(self._choices)]
        if self.usages:
            completion["usage"] = self.usages[-1]
        return completion

    def _add_usage(self, chunk: JsonObject) -> None:
        usage, choices = chunk.get("usage"), chunk.get("choices")
        if usage is None and isinstance(choices, list):
            # Moonshot reports it in the choice that ends; without streaming it is at the top.
            in_choices = (choice.get("usage") for choice in choices if isinstance(choice, dict))
            usage = next((member for member in in_choices if member is not None), None)
        if usage is not None:
            self.usages.append(usage)

    def _add_choice(self, position: int, choice: JsonObject, text: DeltaText) -> None:
        index = choice.get("index")
        if not _is_index(index) and index is not None:
            self._notes["a choice's index is not a number: its position stands"] = None
        key = index if _is_index(index) else position
        if key not in self._choices:
            self._choices[key] = _Choice(self._notes, key)
        self._choices[key].add(choice, text)


class _Choice:
    """One choice of a stream."""

    def __init__(self, notes: Notes, index: int) -> None:
        self._notes = notes
        self._index = index
        self._path = f"choices[{index}]."
        self._fields = Fields(notes, self._path, _CHOICE_FRAGMENTS)
        self._message = self._fields.nested("message")
        self._calls: _ToolCalls | None = None
        self._has_message = self._has_delta = False
        self._whole: JsonObject = {}

    @property
    def finished(self) -> bool:
        # Some servers send "" until there is a reason.
        return bool(self._fields.get("finish_reason"))

    def add(self, choice: JsonObject, text: DeltaText) -> None:
        """Add a chunk's part of this choice; `text` counts its characters."""
        text.content += _text_size(choice, ("text",))
        self._has_delta = self._has_delta or isinstance(choice.get("delta"), dict)
        for name, value in choice.items():
            if name in ("delta", "message"):
                self._add_part(name, value, text)
            elif name not in ("index", "usage"):
                self._fields.add(name, value)

    def merged(self) -> JsonObject:
        merged: JsonObject = {"index": self._index}
        if self._has_message:
            merged["message"] = self._merged_message()
        return merged | self._fields.merged()

    def _add_part(self, name: str, value: Any, text: DeltaText) -> None:
        if not isinstance(value, dict):
            if value is not None:
                self._notes[f"{self._path}{name} is not an object"] = None
            return
        self._has_message = True
        if name == "message" and self._has_delta:
            # Some servers send the message so far, or the whole message at the end, beside the deltas (Perplexity).
            self._whole = value
        else:
            self._add_delta(value, text)

    def _add_delta(self, delta: JsonObject, text: DeltaText) -> None:
        for name, value in delta.items():
            if name == "tool_calls" and isinstance(value, list):
                if self._calls is None:
                    self._calls = _ToolCalls(self._notes, self._path)
                text.tool_call += self._calls.add(value)
            elif name == "tool_calls" and value is not None:
                self._notes["tool_calls is not a list"] = None
            else:
                self._message.add(name, value)
        content, reasoning = _delta_sizes(delta)
        text.content += content
        text.reasoning += reasoning
        text.tool_call += _body_size(delta.get("function_call"))

    def _merged_message(self) -> JsonObject:
        message = self._message.merged()
        if self._calls is not None:
            message["tool_calls"] = self._calls.merged()
        for name, value in self._whole.items():
            if not message.get(name):
                message[name] = value
            elif value and value != message[name]:
                self._notes[f"{self._path}message.{name} is not what its deltas add up to: they stand"] = None
        return message


class _ToolCalls:
    """The tool calls of a message; each delta is added to the call to which it belongs."""

    def __init__(self, notes: Notes, path: str) -> None:
        self._notes = notes
        self._path = f"{path}message."
        self._calls: list[Fields] = []
        self._by_index: dict[int, Fields] = {}
        self._by_id: dict[tuple[int | None, str], Fields] = {}

    def add(self, deltas: list[Any]) -> int:
        """Add the deltas of one chunk; return the number of their characters."""
        size = 0
        for delta in deltas:
            if not isinstance(delta, dict):
                self._notes["a tool call is not an object"] = None
                continue
            self._call_of(delta).add_all(delta)
            size += sum(_body_size(delta.get(name)) for name in _CALL_BODIES)
        return size

    def merged(self) -> list[JsonObject]:
        # `index` belongs to the stream; without streaming the position in the list has its meaning.
        calls = sorted(self._calls, key=_index_of)
        return [{name: value for name, value in call.merged().items() if name != "index"} for call in calls]

    def _call_of(self, delta: JsonObject) -> Fields:
        index, call_id = delta.get("index"), delta.get("id")
        if not _is_index(index):
            if index is not None:
                self._notes["a tool call's index is not a number"] = None
            index = None
        call_id = call_id if isinstance(call_id, str) else ""
        call = self._by_id.get((index, call_id)) if call_id else None
        if call is None:
            call = self._by_index.get(index) if index is not None else self._calls[-1] if self._calls else None
            if call is None or _begins_call(call, delta, index, call_id):
                call = Fields(self._notes, f"{self._path}tool_calls[{len(self._calls)}].")
                self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        if call_id:
            self._by_id[index, call_id] = self._by_id[None, call_id] = call
        return call


def _begins_call(call: Fields, delta: JsonObject, index: int | None, call_id: str) -> bool:
    """Whether a delta that could continue a call begins another one.

    By the documentation `index` decides. But some servers send the same index, or none, for every call (old Gemini and
    Ollama endpoints), and others make up a new id for every delta of one call (old vLLM). A call begins with its
    function's name, and later deltas have no name; where every delta has one, complete arguments end a call.
    """
    name, arguments = _body_text(delta, ("name",)), _body_text(delta, ("arguments", "input"))
    has_other_id = bool(call_id) and call.get("id") not in (call_id, None, "")
    if has_other_id and (index is None or name):
        return True
    body = _open_body(call)
    if not name or body is None or not body.get("name"):
        return False
    if index is None and name != body.get("name"):
        return True
    return bool(arguments) and _has_whole_arguments(body)


def _open_body(call: Fields) -> Fields | None:
    return next((body for name in _CALL_BODIES if isinstance(body := call.get(name), Fields)), None)


def _body_text(delta: JsonObject, names: tuple[str, ...]) -> Any:
    bodies = [delta[body] for body in _CALL_BODIES if isinstance(delta.get(body), dict)]
    return next((body[name] for body in bodies for name in names if body.get(name)), None)


def _has_whole_arguments(body: Fields) -> bool:
    arguments = body.get("arguments")
    if isinstance(arguments, Text):
        return arguments.fragments[-1].endswith("}") and isinstance(loads(arguments.value()), dict)
    return isinstance(arguments, Fields)


def _index_of(call: Fields) -> int:
    index = call.get("index")
    return index if _is_index(index) else 0


def _is_index(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _delta_sizes(delta: JsonObject) -> tuple[int, int]:
    """Return the numbers of characters of content and of reasoning in a delta."""
    parts = delta.get("content")
    if isinstance(parts, str) and delta.keys() <= _PLAIN_DELTA:
        return len(parts), 0
    content = _text_size(delta, CONTENT_FIELDS)
    if isinstance(delta.get("audio"), dict):
        content += _text_size(delta["audio"], ("data", "transcript"))
    # A server that renames the field sends the same text under both names for a while.
    reasoning = 0
    for name in REASONING_FIELDS:
        if isinstance(value := delta.get(name), str):
            reasoning = max(reasoning, len(value))
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict):
            content += _text_size(part, ("text",))
            reasoning += _parts_size(part.get("thinking"))
    return content, reasoning or _parts_size(delta.get("reasoning_details"))


def _parts_size(parts: Any) -> int:
    if isinstance(parts, str):
        return len(parts)
    texts = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return sum(_text_size(part, ("text", "summary")) for part in texts)


def _body_size(body: Any) -> int:
    return _text_size(body, ("name", "arguments", "input")) if isinstance(body, dict) else 0


def _text_size(values: JsonObject, names: tuple[str, ...]) -> int:
    size = 0
    for name in names:
        if isinstance(value := values.get(name), str):
            size += len(value)
    return size
