"""Merges what chunk after chunk says of a field into the one value that it has without streaming.

Text that is known to come in fragments is joined; identities are set once; of other strings and numbers the last one
stands; objects are merged field by field, lists go on. Whatever of that is a guess, or had to leave something out, is
noted. What the fields mean, and which chunk they come in, is `assembly`'s.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ..wire.json_text import join_surrogates

Notes = dict[str, None]  # a set that keeps its order

# Fields of a delta whose strings are fragments of one text.
CONTENT_FIELDS = ("content", "refusal", "text")
# The model's thinking: DeepSeek and vLLM; OpenRouter and Groq; Anthropic-like proxies; Bifrost.
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought")
FRAGMENTS = frozenset(
    (*CONTENT_FIELDS, *REASONING_FIELDS, "arguments", "input", "partial_json", "data", "transcript", "summary")
)
# Fields that some servers repeat in every chunk: the first value that says something stands.
IDENTITIES = frozenset(("id", "object", "created", "model", "role", "name", "type", "tool_call_id", "index", "format"))
# Identities that stand for the chunk rather than the answer, where a change means nothing.
CHUNK_IDENTITIES = frozenset(("object", "created"))
# Strings of which the last one counts, since an earlier one may be provisional.
LAST_WINS = frozenset(("finish_reason", "native_finish_reason", "stop_reason", "service_tier", "system_fingerprint"))
# Log probabilities, as OpenAI and as Bifrost spell it: lists that go on from chunk to chunk.
LOGPROBS_FIELDS = ("logprobs", "log_probs")
# Lists of typed parts, whose texts come in fragments as well: Mistral's content; OpenRouter; LiteLLM.
PART_LISTS = frozenset(("content", "thinking", "reasoning_details", "thinking_blocks"))
_PLAIN = (str, int)
PART_TEXTS = ("text", "thinking", "summary", "signature")


class Fields:
    """The fields of an object that comes in chunks.

    `fragments` are the fields whose strings are joined; None stands for all that are no identities, since the
    deltas of a message are where text comes in, under names that nobody knows before.
    """

    def __init__(self, notes: Notes, path: str = "", fragments: frozenset[str] | None = None) -> None:
        self._notes = notes
        self._path = path
        self._fragments = fragments
        self._values: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """What a field holds so far: a string or number as it came, a text or an object as it is collected."""
        return self._values.get(name)

    def take(self, name: str, value: Any) -> None:
        """Take a field's next value in. A null says nothing, except that the field is there."""
        old = self._values.get(name)
        if type(value) in _PLAIN and type(value) is type(old) and value == old:
            pass  # the same again, as most fields of most chunks are
        elif value is None:
            self._values.setdefault(name, None)
        elif old is None:
            self._open(name, value)
        elif isinstance(value, dict) and isinstance(old, Fields):
            old.take_all(value)
        elif isinstance(value, str) and isinstance(old, Text):
            old.fragments.append(value)
        elif isinstance(value, list) and isinstance(old, _Parts):
            old.take(value)
        elif isinstance(value, list) and isinstance(old, list):
            self._extend(old, value)
        elif name == "content" and isinstance(value, str | list) and isinstance(old, Text | _Parts):
            self._take_mixed_content(old, value)
        elif isinstance(old, Text | Fields | _Parts | list) or isinstance(value, dict | list):
            self._note(name, "is of one type here and of another there: the last value stands")
            self._open(name, value)
        else:
            self._values[name] = self._standing(name, old, value)

    def take_all(self, values: dict[str, Any]) -> None:
        """Take the next values of several fields in."""
        for name, value in values.items():
            self.take(name, value)

    def nested(self, name: str, fragments: frozenset[str] | None = None) -> Fields:
        """An object within this one, for the caller to keep."""
        return Fields(self._notes, f"{self._path}{name}.", fragments)

    def closed(self) -> dict[str, Any]:
        """The object as it would have come whole."""
        return {name: self._closed(name, value) for name, value in self._values.items()}

    def _open(self, name: str, value: Any) -> None:
        """A field's first value in the form that further ones can be merged into."""
        opened = value
        if isinstance(value, dict):
            opened = self.nested(name, None if name in LOGPROBS_FIELDS else self._fragments)
            opened.take_all(value)
        elif isinstance(value, list) and self._fragments is None and name in PART_LISTS:
            opened = _Parts(self, name)
            opened.take(value)
        elif isinstance(value, list):
            opened = list(value)
        elif isinstance(value, str) and self._is_text(name):
            opened = Text(value)
        self._values[name] = opened

    def _is_text(self, name: str) -> bool:
        if self._fragments is None:
            return name not in IDENTITIES and name not in LAST_WINS
        return name in self._fragments

    def _extend(self, old: list[Any], value: list[Any]) -> None:
        # Outside of deltas, lists come again in every chunk, whole or grown (Perplexity's `citations`).
        is_again = self._fragments is not None and value[: len(old)] == old
        old.extend(value[len(old) :] if is_again else value)

    def _take_mixed_content(self, old: Text | _Parts, value: str | list[Any]) -> None:
        """Go on from text to parts within a stream, and back (Mistral)."""
        if isinstance(old, Text):
            text, old = old.value(), _Parts(self, "content")
            old.take(_as_parts(text))
            self._values["content"] = old
        old.take(_as_parts(value))

    def _standing(self, name: str, old: Any, value: Any) -> Any:
        """Which of two plain values stands."""
        if name in IDENTITIES:
            # Azure's first chunk, which carries filter results alone, has an empty id and model and is created at 0.
            if old == "" or (old == 0 and name == "created"):
                return value
            if value not in ("", old) and name not in CHUNK_IDENTITIES:
                self._note(name, "differs from chunk to chunk: the first value stands")
            return old
        if value == "":
            return old
        # Numbers and flags are counts and states, which change by their nature.
        if isinstance(old, str) and old not in ("", value) and name not in LAST_WINS:
            self._note(name, "differs from chunk to chunk: the last value stands")
        return value

    def _closed(self, name: str, value: Any) -> Any:
        if isinstance(value, Text):
            if name not in FRAGMENTS and value.is_guess():
                self._note(name, "is not known: its strings were joined")
            return value.whole(name)
        if isinstance(value, Fields | _Parts):
            return value.closed()
        return join_surrogates(value) if isinstance(value, str) else value

    def _note(self, name: str, text: str) -> None:
        self._notes[f"{self._path}{name} {text}"] = None


class Text:
    """A text that comes in fragments."""

    def __init__(self, fragment: str) -> None:
        self.fragments = [fragment]

    def value(self) -> str:
        """The text so far."""
        if len(self.fragments) > 1:
            self.fragments = ["".join(self.fragments)]
        return self.fragments[0]

    def is_guess(self) -> bool:
        """Whether these may be fragments, or values of which each replaces the one before."""
        return len(set(self.fragments) - {""}) > 1

    def whole(self, name: str) -> str:
        """The text of a field when all has come."""
        if name not in FRAGMENTS and not self.is_guess():
            # One value that is said again and again.
            return join_surrogates(max(self.fragments, key=len))
        if name == "data" and (data := _join_base64(self.fragments)) is not None:
            return data
        return join_surrogates(self.value())


class _Parts:
    """A list of typed parts, where a part may go on in the next chunk: by its `index`, else if it is the last."""

    def __init__(self, owner: Fields, name: str) -> None:
        self._owner = owner
        self._name = name
        self._parts: list[Any] = []
        self._by_index: dict[tuple[int, Any], Fields] = {}

    def take(self, parts: list[Any]) -> None:
        for position, part in enumerate(parts):
            if not isinstance(part, dict):
                self._parts.append(part)
                continue
            index, kind = part.get("index"), part.get("type")
            key = (index, kind) if isinstance(index, int) and isinstance(kind, str | None) else None
            goes_on = self._by_index.get(key) if key else self._last_text(part) if position == 0 else None
            if goes_on is None:
                goes_on = self._owner.nested(f"{self._name}[{len(self._parts)}]")
                self._parts.append(goes_on)
            if key:
                self._by_index[key] = goes_on
            goes_on.take_all(part)

    def closed(self) -> list[Any]:
        return [part.closed() if isinstance(part, Fields) else part for part in self._parts]

    def _last_text(self, part: dict[str, Any]) -> Fields | None:
        last = self._parts[-1] if self._parts else None
        is_same = isinstance(last, Fields) and last.get("type") == part.get("type") and last.get("index") is None
        is_text = any(part.get(name) is not None for name in PART_TEXTS)
        return last if is_same and is_text else None


def _as_parts(content: str | list[Any]) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _join_base64(fragments: list[str]) -> str | None:
    """One base64 text for several that end in padding each; None where a plain join does."""
    if not any(fragment.endswith("=") for fragment in fragments[:-1]):
        return None
    try:
        data = b"".join(base64.b64decode(fragment, validate=True) for fragment in fragments)
    except (binascii.Error, ValueError):
        return None
    return base64.b64encode(data).decode("ascii")
