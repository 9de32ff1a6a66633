"""Assembles the chunks of a chat-completion stream into the object that would have been sent without streaming.

Values in, values out: a chunk is a parsed JSON object, the result is one. Only text that is known to come in fragments
is joined; identities are set once; tool calls are keyed by `index`; usage is the last one reported, never a sum.
Fields that nobody has told us of are kept. The shape of chunks and completions is OpenAI's:
https://platform.openai.com/docs/api-reference/chat-streaming/streaming
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .jsontext import join_surrogates

# Fields of a delta whose strings are fragments of one text.
CONTENT_FIELDS = ("content", "refusal", "text")
# The model's thinking: DeepSeek and vLLM; OpenRouter and Groq; Anthropic-like proxies; Bifrost.
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought")
FRAGMENTS = frozenset((*CONTENT_FIELDS, *REASONING_FIELDS, "arguments", "input", "partial_json", "data", "transcript"))
# Fields that some servers repeat in every chunk: the first value that says something stands.
IDENTITIES = frozenset(("id", "object", "created", "model", "role", "name", "type", "tool_call_id", "index", "format"))
# Fields that exist in a stream alone: padding against the guessing of lengths (OpenAI's `obfuscation`).
STREAM_ONLY = frozenset(("obfuscation",))
# Log probabilities, as OpenAI and as Bifrost spell it: lists that go on from chunk to chunk.
LOGPROBS_FIELDS = ("logprobs", "log_probs")


@dataclass(frozen=True)
class DeltaText:
    """How many characters of each kind a chunk brought, over all its choices."""

    content: int = 0
    reasoning: int = 0
    tool_call: int = 0

    @property
    def total(self) -> int:
        return self.content + self.reasoning + self.tool_call


@dataclass
class _Choice:
    has_message: bool = False
    message: dict[str, Any] = field(default_factory=dict)
    tool_calls: list[dict[str, Any]] | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class ChatAssembler:
    """One stream of chat-completion chunks."""

    def __init__(self) -> None:
        self.usages: list[Any] = []
        self.problems: list[str] = []
        self._fields: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    @property
    def finished(self) -> bool:
        """Whether every choice that has begun has its finish reason."""
        return bool(self._choices) and all(
            choice.fields.get("finish_reason") is not None for choice in self._choices.values()
        )

    def feed(self, chunk: dict[str, Any]) -> DeltaText:
        """Take one chunk in."""
        content = reasoning = tool_call = 0
        for name, value in chunk.items():
            if name == "usage":
                if value is not None:
                    self.usages.append(value)
            elif name != "choices":
                _merge(self._fields, name, value)
        choices = chunk.get("choices")
        for position, choice in enumerate(choices if isinstance(choices, list) else []):
            if not isinstance(choice, dict):
                self.problems.append("a choice is not an object")
                continue
            text = self._feed_choice(position, choice)
            content, reasoning = content + text.content, reasoning + text.reasoning
            tool_call += text.tool_call
        return DeltaText(content, reasoning, tool_call)

    def completion(self) -> dict[str, Any]:
        """The object assembled so far; a copy of nothing, so the caller owns it and feeds no more."""
        completion = {name: _closed(value) for name, value in self._fields.items() if name not in STREAM_ONLY}
        kind = completion.get("object")
        if isinstance(kind, str):
            completion["object"] = kind.removesuffix(".chunk")
        completion["choices"] = [self._close(index) for index in sorted(self._choices)]
        if self.usages:
            completion["usage"] = self.usages[-1]
        return completion

    def _feed_choice(self, position: int, choice: dict[str, Any]) -> DeltaText:
        index = choice.get("index")
        state = self._choices.setdefault(index if isinstance(index, int) else position, _Choice())
        text = DeltaText()
        for name, value in choice.items():
            # Some servers send the last chunk's message whole, under the name it has without streaming.
            if name in ("delta", "message"):
                if isinstance(value, dict):
                    state.has_message = True
                    text = self._feed_delta(state, value)
            elif name in LOGPROBS_FIELDS:
                _extend_logprobs(state.fields, name, value)
            elif name != "index":
                _merge(state.fields, name, value)
        if isinstance(choice.get("text"), str):
            text = DeltaText(text.content + len(choice["text"]), text.reasoning, text.tool_call)
        return text

    def _feed_delta(self, state: _Choice, delta: dict[str, Any]) -> DeltaText:
        tool_call = 0
        for name, value in delta.items():
            if name == "tool_calls":
                tool_call += self._feed_tool_calls(state, value)
            else:
                _merge(state.message, name, value)
        if isinstance(delta.get("function_call"), dict):
            tool_call += _text_size(delta["function_call"], ("name", "arguments"))
        content = _text_size(delta, CONTENT_FIELDS)
        if isinstance(delta.get("audio"), dict):
            content += _text_size(delta["audio"], ("data", "transcript"))
        return DeltaText(content, _text_size(delta, REASONING_FIELDS), tool_call)

    def _feed_tool_calls(self, state: _Choice, deltas: Any) -> int:
        if deltas is None:
            state.message.setdefault("tool_calls", None)
            return 0
        if not isinstance(deltas, list):
            self.problems.append("tool_calls is not a list")
            return 0
        state.message["tool_calls"] = True  # keeps its place among the message's fields
        calls = state.tool_calls = state.tool_calls if state.tool_calls is not None else []
        size = 0
        for delta in deltas:
            if not isinstance(delta, dict):
                self.problems.append("a tool call is not an object")
                continue
            call = _call_of(calls, delta)
            for name, value in delta.items():
                _merge(call, name, value)
            for body in (delta.get("function"), delta.get("custom")):
                if isinstance(body, dict):
                    size += _text_size(body, ("name", "arguments", "input"))
        return size

    def _close(self, index: int) -> dict[str, Any]:
        state = self._choices[index]
        message = {name: _closed(value) for name, value in state.message.items()}
        if state.tool_calls is not None:
            # `index` belongs to the stream; without streaming the list's order says it.
            message["tool_calls"] = [
                {name: _closed(value) for name, value in call.items() if name != "index"}
                for call in sorted(state.tool_calls, key=_call_order)
            ]
        fields = {name: _closed(value) for name, value in state.fields.items()}
        return {"index": index, **({"message": message} if state.has_message else {}), **fields}


class _Repeated(list[str]):
    """Strings of a field we do not know: one value said again and again, or fragments of a text."""

    def value(self) -> str:
        return self[0] if len(set(self)) == 1 else "".join(self)


def _merge(target: dict[str, Any], name: str, value: Any) -> None:
    """Take a field's next value in. A null says nothing, except that the field is there."""
    old = target.get(name)
    if value is None:
        target.setdefault(name, None)
    elif old is None:
        target[name] = _opened(name, value)
    elif name in IDENTITIES:
        # Azure's first chunk, which carries filter results alone, has an empty id and model and is created at 0.
        if old == "" or (old == 0 and name == "created"):
            target[name] = value
    elif isinstance(value, str) and isinstance(old, str) and name in FRAGMENTS:
        target[name] = old + value
    elif isinstance(value, str) and isinstance(old, _Repeated):
        old.append(value)
    elif isinstance(value, dict) and isinstance(old, dict):
        for member, part in value.items():
            _merge(old, member, part)
    elif isinstance(value, list) and isinstance(old, list):
        old.extend(value)
    elif name == "content" and isinstance(value, str | list) and isinstance(old, str | list):
        target[name] = _as_parts(old) + _as_parts(value)
    else:
        target[name] = _opened(name, value)


def _opened(name: str, value: Any) -> Any:
    """A field's first value in the form that further ones can be merged into."""
    if isinstance(value, dict):
        opened: dict[str, Any] = {}
        for member, part in value.items():
            _merge(opened, member, part)
        return opened
    if isinstance(value, list):
        return list(value)
    if isinstance(value, str) and name not in FRAGMENTS and name not in IDENTITIES and name not in _LAST_WINS:
        return _Repeated([value])
    return value


def _as_parts(content: str | list[Any]) -> list[Any]:
    """Content as a list of parts, for servers that change from text to parts within a stream (Mistral)."""
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


# Strings of which the last one counts, since an earlier one may be provisional.
_LAST_WINS = frozenset(("finish_reason", "native_finish_reason", "stop_reason", "service_tier", "system_fingerprint"))


def _closed(value: Any) -> Any:
    if isinstance(value, _Repeated):
        return join_surrogates(value.value())
    if isinstance(value, str):
        return join_surrogates(value)
    if isinstance(value, dict):
        return {name: _closed(member) for name, member in value.items()}
    return value


def _extend_logprobs(fields: dict[str, Any], name: str, value: Any) -> None:
    if not isinstance(value, dict) or not isinstance(fields.get(name), dict):
        if value is not None or name not in fields:
            fields[name] = dict(value) if isinstance(value, dict) else value
        return
    for member, items in value.items():
        old = fields[name].get(member)
        if isinstance(items, list) and isinstance(old, list):
            fields[name][member] = old + items
        elif items is not None:
            fields[name][member] = items


def _call_of(calls: list[dict[str, Any]], delta: dict[str, Any]) -> dict[str, Any]:
    """The tool call that a delta goes on with, or a new one.

    `index` decides, as documented. Two calls that share an index tell themselves apart by their ids, and
    a delta without an index belongs to the call of its id, else to the last one.
    """
    index, call_id = delta.get("index"), delta.get("id")
    same = [call for call in calls if index is None or call.get("index") == index]
    if call_id:
        named = [call for call in same if call.get("id") in (call_id, None, "")]
        same = named if named else []
    if same:
        return same[-1]
    calls.append({})
    return calls[-1]


def _call_order(call: dict[str, Any]) -> int:
    index = call.get("index")
    return index if isinstance(index, int) else 0


def _text_size(values: dict[str, Any], names: tuple[str, ...]) -> int:
    return sum(len(value) for name in names if isinstance(value := values.get(name), str))
