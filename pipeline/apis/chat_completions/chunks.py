"""Makes the chunks of a stream from a completion.

A recording has the number of events in a stream and the number of characters in each, not the events. Here the texts of
the completion are cut into pieces of these sizes. Everything else goes where providers send it: roles first, finish
reasons and other fields at the end, usage last. `stream` assembles the chunks to the same completion again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...wire.json_text import JsonObject
from ..base import TEXT_KINDS
from ..merge import CONTENT_FIELDS, PART_TEXTS, REASONING_FIELDS

# A path into a chunk's choice: names of members, and positions of tool calls.
type _Path = tuple[str | int, ...]

# Fields that providers repeat in every chunk.
_HEAD_FIELDS = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_COMPLETION = "chat.completion"
_CALL_TEXTS = {"function": "arguments", "custom": "input"}
_AUDIO_TEXTS = ("transcript", "data")


def make_chunks(
    completion: JsonObject, sizes: Sequence[int], kinds: Sequence[str] = TEXT_KINDS, *, usage_apart: bool = False
) -> list[JsonObject]:
    """Return chunks that assemble to the completion, one for each size in characters.

    `kinds` is the order of the kinds of text. With `usage_apart` the usage has a chunk of its own after the finish
    reasons, as OpenAI's `include_usage` requires.
    """
    if not _are_objects(completion.get("choices")):
        return [completion, *({"choices": []} for _ in sizes[1:])] if sizes else []
    return list(_ChunkMaker(completion, kinds, usage_apart).chunks(sizes))


def natural_sizes(completion: JsonObject, *, usage_apart: bool) -> list[int]:
    """Return sizes for a completion that was not streamed: each of its texts is one piece."""
    if not _are_objects(completion.get("choices")):
        return [0]
    choices = _ChunkMaker(completion, TEXT_KINDS, usage_apart).choices
    texts = [len(piece.text) for choice in choices for piece in choice.pieces if piece.text]
    return [0] * len(choices) + texts + [0] * (max(len(choices), 1) + usage_apart)


@dataclass
class _Piece:
    """A text that has not been sent yet, and the paths at which its parts stand in a chunk's choice."""

    kind: str
    text: str
    paths: tuple[_Path, ...] = ()
    #: The fields that are sent at once in place of the text, where it cannot be cut or is only part of them.
    whole: JsonObject | None = None
    is_base64: bool = False

    def cut(self, most: int | None = None) -> JsonObject:
        """Return the fields for the next characters, at most this many or all, and remove these from the text."""
        if self.whole is not None:
            self.text = ""
            return self.whole
        end = len(self.text) if most is None else most
        # Base64 that ends in padding would look complete.
        while self.is_base64 and 0 < end < len(self.text) and self.text[end - 1] == "=":
            end += 1
        part, self.text = self.text[:end], self.text[end:]
        fields: JsonObject = {}
        for path in self.paths:
            _merge(fields, _at_path(path, part))
        return fields


class _Choice:
    """One choice of the completion: `opening` is sent first, then the `pieces`, then `ending`; None means sent."""

    def __init__(self, position: int, choice: JsonObject, kinds: Sequence[str]) -> None:
        index = choice.get("index")
        self._blank = {"index": position if index is None else index}
        if "finish_reason" in choice:
            self._blank["finish_reason"] = None
        message = choice.get("message")
        self._has_message = isinstance(message, dict)
        message = message if isinstance(message, dict) else {}
        rest = dict(message)
        has_content = isinstance(rest.get("content"), str)
        pieces = [*_take_texts(rest), *_take_calls(rest)]
        ending = {name: value for name, value in choice.items() if name not in ("index", "message")}
        if _is_text(ending.get("text")):
            pieces.append(_Piece("content", ending.pop("text"), (("text",),)))
        self.pieces = deque(sorted(pieces, key=lambda piece: kinds.index(piece.kind)))
        # A response in audio has its id from the start.
        opening = {name: value for name, value in rest.items() if name == "audio" or not isinstance(value, dict | list)}
        last_delta = {name: value for name, value in rest.items() if name not in opening}
        opening |= {"content": ""} if has_content else {}
        self.opening: JsonObject | None = {"delta": opening} if opening else {}
        self.ending: JsonObject | None = {**ending, "delta": last_delta} if last_delta else ending

    def blank(self) -> JsonObject:
        """Return the fields that this choice has in every chunk."""
        return {**self._blank, **({"delta": {}} if self._has_message else {})}


class _ChunkMaker:
    """Distributes the choices of one completion over chunks."""

    def __init__(self, completion: JsonObject, kinds: Sequence[str], usage_apart: bool) -> None:
        self.choices = [_Choice(position, choice, kinds) for position, choice in enumerate(completion["choices"])]
        self._turn = 0
        self._usage = completion.get("usage")
        self._usage_apart = usage_apart and self._usage is not None
        self._head = {name: completion[name] for name in _HEAD_FIELDS if name in completion}
        if self._head.get("object") == _COMPLETION:
            self._head["object"] = f"{_COMPLETION}.chunk"
        if self._usage_apart:
            self._head["usage"] = None
        self._rest = {
            name: value for name, value in completion.items() if name not in (*_HEAD_FIELDS, "choices", "usage")
        }
        #: The choices of the chunk that is being made, by their positions.
        self._current: dict[int, JsonObject] = {}

    def chunks(self, sizes: Sequence[int]) -> Iterator[JsonObject]:
        # A piece that cannot be cut may be larger than its chunk; the following chunks make up for it.
        wanted = sent = 0
        for left, size in zip(reversed(range(len(sizes))), sizes, strict=True):
            self._current = {}
            wanted += size
            if sent < wanted:
                sent += self._add_text(wanted - sent)
            else:
                self._add_no_text()
            self._end_in_time(left)
            yield self._chunk(is_last=left == 0)

    def _add_text(self, wanted: int) -> int:
        """Add this many characters of the next choice that has text left, and of others if it has too few.

        Returns the number of characters added.
        """
        added = 0
        for _ in self.choices:
            position = self._turn
            self._turn = (position + 1) % len(self.choices)
            added += self._add_text_of(position, wanted - added)
            if added >= wanted:
                break
        return added

    def _add_text_of(self, position: int, wanted: int) -> int:
        added, pieces = 0, self.choices[position].pieces
        while pieces and added < wanted:
            self._open(position)
            before = len(pieces[0].text)
            self._add(position, pieces[0].cut(wanted - added))
            added += before - len(pieces[0].text)
            if not pieces[0].text:
                pieces.popleft()
        return added

    def _add_no_text(self) -> None:
        """Open a choice, or end one that has no text left while others do."""
        unopened = [position for position, choice in enumerate(self.choices) if choice.opening is not None]
        without_text = [
            position for position, choice in enumerate(self.choices) if not choice.pieces and choice.ending is not None
        ]
        if unopened:
            self._open(unopened[0])
        elif without_text and any(choice.pieces for choice in self.choices):
            self._end(without_text[0])

    def _end_in_time(self, left: int) -> None:
        """End as many choices as necessary, so that the others can each end in one of the chunks that are left."""
        unended = [position for position, choice in enumerate(self.choices) if choice.ending is not None]
        later = max(left - self._usage_apart, 0)
        for position in unended[: max(len(unended) - later, 0)]:
            self._end(position)

    def _end(self, position: int) -> None:
        choice = self.choices[position]
        self._open(position)
        while choice.pieces:
            self._add(position, choice.pieces.popleft().cut())
        if choice.ending is not None:
            self._add(position, choice.ending)
            choice.ending = None

    def _open(self, position: int) -> None:
        choice = self.choices[position]
        if choice.opening is not None:
            self._add(position, choice.opening)
            choice.opening = None

    def _add(self, position: int, fields: JsonObject) -> None:
        _merge(self._current.setdefault(position, self.choices[position].blank()), fields)

    def _chunk(self, *, is_last: bool) -> JsonObject:
        if not self._current and self.choices and not (is_last and self._usage_apart):
            self._add(0, {})
        chunk = {**self._head, "choices": [self._current[position] for position in sorted(self._current)]}
        if is_last:
            chunk |= self._rest | ({} if self._usage is None else {"usage": self._usage})
        return chunk


def _take_texts(rest: JsonObject) -> Iterator[_Piece]:
    """Remove the texts of a message that are sent in pieces, and yield them."""
    same: dict[str, list[_Path]] = {}
    for name in REASONING_FIELDS:
        if _is_text(rest.get(name)):
            # Some servers send the same text under two names.
            same.setdefault(rest.pop(name), []).append(("delta", name))
    if isinstance(rest.get("reasoning_details"), list):
        details = rest.pop("reasoning_details")
        # Beside a text they repeat it, and come with its first part.
        yield _Piece("reasoning", "" if same else _text_in(details), whole={"delta": {"reasoning_details": details}})
    for text, paths in same.items():
        yield _Piece("reasoning", text, tuple(paths))
    for name in CONTENT_FIELDS:
        if _is_text(rest.get(name)):
            yield _Piece("content", rest.pop(name), (("delta", name),))
    if isinstance(rest.get("content"), list):
        parts = rest.pop("content")
        yield _Piece("content", _text_in(parts), whole={"delta": {"content": parts}})
    if isinstance(rest.get("audio"), dict):
        rest["audio"] = audio = dict(rest["audio"])
        for name in _AUDIO_TEXTS:
            if _is_text(audio.get(name)):
                path = ("delta", "audio", name)
                yield _Piece("content", audio.pop(name), (path,), is_base64=name == "data")


def _take_calls(rest: JsonObject) -> Iterator[_Piece]:
    """Remove the calls of a message, and yield each as the fields that name it and then its arguments."""
    if isinstance(rest.get("function_call"), dict):
        yield from _call({"function": rest.pop("function_call")}, ("delta",), {"function": "function_call"})
    if rest.get("tool_calls") and _are_objects(rest["tool_calls"]):
        for position, call in enumerate(rest.pop("tool_calls")):
            yield from _call(call, ("delta", "tool_calls", position), {name: name for name in _CALL_TEXTS})


def _call(call: JsonObject, path: _Path, names: dict[str, str]) -> Iterator[_Piece]:
    """Yield a call's pieces; `names` has the names of its bodies in a chunk."""
    opening = {name: value for name, value in call.items() if name != "index"}
    function_name, texts = "", []
    for body_name, text_name in _CALL_TEXTS.items():
        if not isinstance(body := call.get(body_name), dict):
            continue
        function_name += body["name"] if _is_text(body.get("name")) else ""
        if _is_text(body.get(text_name)):
            opening[body_name] = {**body, text_name: ""}
            texts.append(_Piece("tool_call", body[text_name], ((*path, names[body_name], text_name),)))
    opening = {names.get(name, name): value for name, value in opening.items()}
    yield _Piece("tool_call", function_name, whole=_at_path(path, opening))
    yield from texts


def _at_path(path: _Path, value: Any) -> JsonObject:
    """Return an object that has the value at this path; a number in the path is the position of a tool call."""
    for step in reversed(path):
        value = [{"index": step, **value}] if isinstance(step, int) else {step: value}
    placed: JsonObject = value
    return placed


def _merge(into: JsonObject, fields: JsonObject) -> None:
    """Add fields to a chunk's choice: texts are joined, and tool calls are merged by their positions."""
    for name, value in fields.items():
        old = into.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value)
        elif isinstance(old, str) and isinstance(value, str):
            into[name] = old + value
        elif name == "tool_calls" and isinstance(old, list) and old[-1]["index"] == value[0]["index"]:
            _merge(old[-1], {member: value[0][member] for member in value[0] if member != "index"})
        elif name == "tool_calls" and isinstance(old, list):
            old.extend(value)
        else:
            into[name] = value


def _text_in(parts: list[Any]) -> str:
    """Return the text of typed parts, also that of nested parts."""
    texts = []
    for part in parts:
        for name in PART_TEXTS if isinstance(part, dict) else ():
            value = part.get(name)
            texts.append(value if isinstance(value, str) else _text_in(value) if isinstance(value, list) else "")
    return "".join(texts)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _are_objects(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)
