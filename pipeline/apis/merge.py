"""Merges the values that a field has in chunk after chunk into the one value that it has without streaming.

Text that comes in fragments is joined. An identity keeps its first value; other strings and numbers have their last.
Objects are merged field by field, and lists are extended. Each guess, and each value that had to be left out, is noted.
The modules of the APIs know what the fields mean and in which chunks they come.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ..wire.json_text import JsonObject, join_surrogates

Notes = dict[str, None]  # a set that keeps its order

# Fields of a delta whose strings are fragments of one text.
CONTENT_FIELDS = ("content", "refusal", "text")
# The model's thinking: DeepSeek and vLLM; OpenRouter and Groq; Anthropic-like proxies; Bifrost.
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought")
FRAGMENTS = frozenset(
    (*CONTENT_FIELDS, *REASONING_FIELDS, "arguments", "input", "partial_json", "data", "transcript", "summary")
)
# Fields that some servers repeat in every chunk: the first value that is not empty counts.
IDENTITIES = frozenset(("id", "object", "created", "model", "role", "name", "type", "tool_call_id", "index", "format"))
# Identities of the chunk, not of the response: a change means nothing.
CHUNK_IDENTITIES = frozenset(("object", "created"))
# Strings whose last value counts, because an earlier one may be provisional.
LAST_WINS = frozenset(("finish_reason", "native_finish_reason", "stop_reason", "service_tier", "system_fingerprint"))
# Log probabilities, as OpenAI and as Bifrost spell it: lists that each chunk extends.
LOGPROBS_FIELDS = ("logprobs", "log_probs")
# Lists of typed parts, whose texts come in fragments as well: Mistral's content; OpenRouter; LiteLLM.
PART_LISTS = frozenset(("content", "thinking", "reasoning_details", "thinking_blocks"))
PART_TEXTS = ("text", "thinking", "summary", "signature")
_PLAIN = (str, int)


class Fields:
    """The fields of an object that comes in chunks.

    `fragments` names the fields whose strings are joined. None means all that are no identities: the deltas of a
    message bring text under names that cannot be known in advance.
    """

    def __init__(self, notes: Notes, path: str = "", fragments: frozenset[str] | None = None) -> None:
        self._notes = notes
        self._path = path
        self._fragments = fragments
        self._values: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """Return a field's value so far: a string or number itself, else the `Text`, `Fields` or list that holds it."""
        return self._values.get(name)

    def add(self, name: str, value: Any) -> None:
        """Merge the next value of a field. A null only shows that the field exists."""
        old = self._values.get(name)
        if type(value) in _PLAIN and type(value) is type(old) and value == old:
            pass  # the same value again, as in most chunks
        elif value is None:
            self._values.setdefault(name, None)
        elif old is None:
            self._begin(name, value)
        elif isinstance(value, dict) and isinstance(old, Fields):
            old.add_all(value)
        elif isinstance(value, str) and isinstance(old, Text):
            old.fragments.append(value)
        elif isinstance(value, list) and isinstance(old, _Parts):
            old.add(value)
        elif isinstance(value, list) and isinstance(old, list):
            self._extend(old, value)
        elif name == "content" and isinstance(value, str | list) and isinstance(old, Text | _Parts):
            self._add_mixed_content(old, value)
        elif isinstance(old, Text | Fields | _Parts | list) or isinstance(value, dict | list):
            self._note(name, "is of one type here and of another there: the last value stands")
            self._begin(name, value)
        else:
            self._values[name] = self._choose(name, old, value)

    def add_all(self, values: JsonObject) -> None:
        """Merge the next values of several fields."""
        for name, value in values.items():
            self.add(name, value)

    def nested(self, name: str, fragments: frozenset[str] | None = None) -> Fields:
        """Return new fields for an object within this one; the caller keeps them."""
        return Fields(self._notes, f"{self._path}{name}.", fragments)

    def merged(self) -> JsonObject:
        """Return the object as it would be without streaming."""
        return {name: self._merged(name, value) for name, value in self._values.items()}

    def _begin(self, name: str, value: Any) -> None:
        """Store a field's first value in a form into which further values can be merged."""
        begun = value
        if isinstance(value, dict):
            begun = self.nested(name, None if name in LOGPROBS_FIELDS else self._fragments)
            begun.add_all(value)
        elif isinstance(value, list) and self._fragments is None and name in PART_LISTS:
            begun = _Parts(self, name)
            begun.add(value)
        elif isinstance(value, list):
            begun = list(value)
        elif isinstance(value, str) and self._is_text(name):
            begun = Text(value)
        self._values[name] = begun

    def _is_text(self, name: str) -> bool:
        if self._fragments is None:
            return name not in IDENTITIES and name not in LAST_WINS
        return name in self._fragments

    def _extend(self, old: list[Any], value: list[Any]) -> None:
        # Outside of deltas, every chunk repeats the whole list, which may have grown (Perplexity's `citations`).
        is_repeated = self._fragments is not None and value[: len(old)] == old
        old.extend(value[len(old) :] if is_repeated else value)

    def _add_mixed_content(self, old: Text | _Parts, value: str | list[Any]) -> None:
        """Continue text with parts, or parts with text, as Mistral does within a stream."""
        if isinstance(old, Text):
            text, old = old.value(), _Parts(self, "content")
            old.add(_as_parts(text))
            self._values["content"] = old
        old.add(_as_parts(value))

    def _choose(self, name: str, old: Any, value: Any) -> Any:
        """Return the one of two plain values that counts."""
        if name in IDENTITIES:
            # Azure's first chunk, which carries filter results alone, has an empty id and model and is created at 0.
            if old == "" or (old == 0 and name == "created"):
                return value
            if value not in ("", old) and name not in CHUNK_IDENTITIES:
                self._note(name, "differs from chunk to chunk: the first value stands")
            return old
        if value == "":
            return old
        # Numbers and flags may change, since they are counts and states.
        if isinstance(old, str) and old not in ("", value) and name not in LAST_WINS:
            self._note(name, "differs from chunk to chunk: the last value stands")
        return value

    def _merged(self, name: str, value: Any) -> Any:
        if isinstance(value, Text):
            if name not in FRAGMENTS and value.is_guess():
                self._note(name, "is not known: its strings were joined")
            return value.merged(name)
        if isinstance(value, Fields | _Parts):
            return value.merged()
        return join_surrogates(value) if isinstance(value, str) else value

    def _note(self, name: str, text: str) -> None:
        self._notes[f"{self._path}{name} {text}"] = None


class Text:
    """A text that comes in fragments."""

    def __init__(self, fragment: str) -> None:
        self.fragments = [fragment]

    def value(self) -> str:
        """Return the text so far."""
        if len(self.fragments) > 1:
            self.fragments = ["".join(self.fragments)]
        return self.fragments[0]

    def is_guess(self) -> bool:
        """Whether these strings may be fragments, or values each of which replaces the one before."""
        return len(set(self.fragments) - {""}) > 1

    def merged(self, name: str) -> str:
        """Return the text of a field that is complete."""
        if name not in FRAGMENTS and not self.is_guess():
            # One value that every chunk repeats.
            return join_surrogates(max(self.fragments, key=len))
        if name == "data" and (data := _join_base64(self.fragments)) is not None:
            return data
        return join_surrogates(self.value())


class _Parts:
    """A list of typed parts. The next chunk continues a part with the same `index`, or else the last part."""

    def __init__(self, owner: Fields, name: str) -> None:
        self._owner = owner
        self._name = name
        self._parts: list[Any] = []
        self._by_index: dict[tuple[int, Any], Fields] = {}

    def add(self, parts: list[Any]) -> None:
        for position, part in enumerate(parts):
            if not isinstance(part, dict):
                self._parts.append(part)
                continue
            index, kind = part.get("index"), part.get("type")
            key = (index, kind) if isinstance(index, int) and isinstance(kind, str | None) else None
            fields = self._by_index.get(key) if key else self._last_text(part) if position == 0 else None
            if fields is None:
                fields = self._owner.nested(f"{self._name}[{len(self._parts)}]")
                self._parts.append(fields)
            if key:
                self._by_index[key] = fields
            fields.add_all(part)

    def merged(self) -> list[Any]:
        return [part.merged() if isinstance(part, Fields) else part for part in self._parts]

    def _last_text(self, part: JsonObject) -> Fields | None:
        """Return the last part, if this part can continue its text."""
        last = self._parts[-1] if self._parts else None
        is_same = isinstance(last, Fields) and last.get("type") == part.get("type") and last.get("index") is None
        is_text = any(part.get(name) is not None for name in PART_TEXTS)
        return last if is_same and is_text else None


def _as_parts(content: str | list[Any]) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _join_base64(fragments: list[str]) -> str | None:
    """Return one base64 text for several that each end in padding; None where joining their strings is right."""
    if not any(fragment.endswith("=") for fragment in fragments[:-1]):
        return None
    try:
        data = b"".join(base64.b64decode(fragment, validate=True) for fragment in fragments)
    except (binascii.Error, ValueError):
        return None
    return base64.b64encode(data).decode("ascii")
