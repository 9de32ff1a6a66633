"""Makes the chunks of a stream again from the completion that they were assembled to.

A recording keeps how many events there were and how many characters of text each brought, not the events. Here the
completion's texts are cut into pieces of these sizes, and what is no text goes where providers send it: roles first,
finish reasons and all else at the end, usage last. Assembled again the chunks give the completion. When they are sent,
and what ends the stream, is `reply`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...wire.json_text import JsonObject
from ..base import TEXT_KINDS
from ..merge import CONTENT_FIELDS, PART_TEXTS, REASONING_FIELDS

# Names of members, and numbers of tool calls.
Steps = tuple[str | int, ...]

# Fields that providers repeat in every chunk.
_HEAD_FIELDS = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_COMPLETION = "chat.completion"
_CALL_TEXTS = {"function": "arguments", "custom": "input"}
_AUDIO_TEXTS = ("transcript", "data")


def make_chunks(
    completion: JsonObject, sizes: Sequence[int], kinds: Sequence[str] = TEXT_KINDS, *, usage_apart: bool = False
) -> list[JsonObject]:
    """The chunks of a stream, one for each size, that assemble to the completion.

    With `usage_apart` usage has a chunk of its own behind the finish reasons, as OpenAI's `include_usage` asks.
    """
    if not _are_objects(completion.get("choices")):
        return [completion, *({"choices": []} for _ in sizes[1:])] if sizes else []
    return list(_Stream(completion, kinds, usage_apart).chunks(sizes))


def natural_sizes(completion: JsonObject, *, usage_apart: bool) -> list[int]:
    """Sizes for a completion that was not streamed: each of its texts comes in one piece."""
    if not _are_objects(completion.get("choices")):
        return [0]
    voices = _Stream(completion, TEXT_KINDS, usage_apart).voices
    texts = [len(piece.text) for voice in voices for piece in voice.pieces if piece.text]
    return [0] * len(voices) + texts + [0] * (max(len(voices), 1) + usage_apart)


@dataclass
class _Piece:
    """A text that is still to be said, and where it stands in a chunk's choice."""

    kind: str
    text: str
    paths: tuple[Steps, ...] = ()
    #: What is said instead, at once, where the text cannot be cut or is not all of it.
    whole: JsonObject | None = None
    is_base64: bool = False

    def take(self, most: int | None = None) -> JsonObject:
        """The next so many characters of it, or all that is left."""
        if self.whole is not None:
            self.text = ""
            return self.whole
        end = len(self.text) if most is None else most
        # Base64 with padding at its end would pass for a whole.
        while self.is_base64 and 0 < end < len(self.text) and self.text[end - 1] == "=":
            end += 1
        part, self.text = self.text[:end], self.text[end:]
        said: JsonObject = {}
        for path in self.paths:
            _join(said, _placed(path, part))
        return said


class _Voice:
    """One choice, said piece by piece: `opening`, then `pieces`, then `ending`; None stands for what was said."""

    def __init__(self, position: int, choice: JsonObject, kinds: Sequence[str]) -> None:
        index = choice.get("index")
        self._blank = {"index": position if index is None else index}
        if "finish_reason" in choice:
            self._blank["finish_reason"] = None
        message = choice.get("message")
        self._has_message = isinstance(message, dict)
        message = message if isinstance(message, dict) else {}
        rest = dict(message)
        says_content = isinstance(rest.get("content"), str)
        pieces = [*_take_texts(rest), *_take_calls(rest)]
        ending = {name: value for name, value in choice.items() if name not in ("index", "message")}
        if _is_text(ending.get("text")):
            pieces.append(_Piece("content", ending.pop("text"), (("text",),)))
        self.pieces = deque(sorted(pieces, key=lambda piece: kinds.index(piece.kind)))
        # An answer in audio is known by its id from the start.
        opening = {name: value for name, value in rest.items() if name == "audio" or not isinstance(value, dict | list)}
        said_last = {name: value for name, value in rest.items() if name not in opening}
        opening |= {"content": ""} if says_content else {}
        self.opening: JsonObject | None = {"delta": opening} if opening else {}
        self.ending: JsonObject | None = {**ending, "delta": said_last} if said_last else ending

    def blank(self) -> JsonObject:
        """What each chunk's choice has, whatever it says."""
        return {**self._blank, **({"delta": {}} if self._has_message else {})}


class _Stream:
    """A completion on its way into chunks."""

    def __init__(self, completion: JsonObject, kinds: Sequence[str], usage_apart: bool) -> None:
        self.voices = [_Voice(position, choice, kinds) for position, choice in enumerate(completion["choices"])]
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
        self._said: dict[int, JsonObject] = {}

    def chunks(self, sizes: Sequence[int]) -> Iterator[JsonObject]:
        wanted = spoken = 0
        for left, size in zip(reversed(range(len(sizes))), sizes, strict=True):
            self._said = {}
            wanted += size
            if spoken < wanted:
                spoken += self._speak(wanted - spoken)
            else:
                self._say_no_text()
            self._end_in_time(left)
            yield self._chunk(is_last=left == 0)

    def _speak(self, wanted: int) -> int:
        """Let the next choice that has text left say so much of it, and others go on where it has no more."""
        spoken = 0
        for _ in self.voices:
            position = self._turn
            self._turn = (position + 1) % len(self.voices)
            spoken += self._speak_as(position, wanted - spoken)
            if spoken >= wanted:
                break
        return spoken

    def _speak_as(self, position: int, wanted: int) -> int:
        spoken, pieces = 0, self.voices[position].pieces
        while pieces and spoken < wanted:
            self._open(position)
            before = len(pieces[0].text)
            self._say(position, pieces[0].take(wanted - spoken))
            spoken += before - len(pieces[0].text)
            if not pieces[0].text:
                pieces.popleft()
        return spoken

    def _say_no_text(self) -> None:
        """Open a choice, or end one of several that has nothing more to say."""
        unopened = [position for position, voice in enumerate(self.voices) if voice.opening is not None]
        silent = [
            position for position, voice in enumerate(self.voices) if not voice.pieces and voice.ending is not None
        ]
        if unopened:
            self._open(unopened[0])
        elif silent and any(voice.pieces for voice in self.voices):
            self._end(silent[0])

    def _end_in_time(self, left: int) -> None:
        """End as many choices as have to, for each to end in a chunk of its own if so many are left."""
        unended = [position for position, voice in enumerate(self.voices) if voice.ending is not None]
        later = max(left - self._usage_apart, 0)
        for position in unended[: max(len(unended) - later, 0)]:
            self._end(position)

    def _end(self, position: int) -> None:
        voice = self.voices[position]
        self._open(position)
        while voice.pieces:
            self._say(position, voice.pieces.popleft().take())
        if voice.ending is not None:
            self._say(position, voice.ending)
            voice.ending = None

    def _open(self, position: int) -> None:
        voice = self.voices[position]
        if voice.opening is not None:
            self._say(position, voice.opening)
            voice.opening = None

    def _say(self, position: int, said: JsonObject) -> None:
        _join(self._said.setdefault(position, self.voices[position].blank()), said)

    def _chunk(self, *, is_last: bool) -> JsonObject:
        if not self._said and self.voices and not (is_last and self._usage_apart):
            self._say(0, {})
        chunk = {**self._head, "choices": [self._said[position] for position in sorted(self._said)]}
        if is_last:
            chunk |= self._rest | ({} if self._usage is None else {"usage": self._usage})
        return chunk


def _take_texts(rest: JsonObject) -> Iterator[_Piece]:
    """The texts of a message that are said in pieces, which are taken out of it."""
    same: dict[str, list[Steps]] = {}
    for name in REASONING_FIELDS:
        if _is_text(rest.get(name)):
            # Some servers say the same under two names.
            same.setdefault(rest.pop(name), []).append(("delta", name))
    if isinstance(rest.get("reasoning_details"), list):
        details = rest.pop("reasoning_details")
        # Beside a text they say it once more, and come with its first part.
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
    """The calls of a message, which are taken out of it: of each what it is, then its arguments."""
    if isinstance(rest.get("function_call"), dict):
        yield from _call({"function": rest.pop("function_call")}, ("delta",), {"function": "function_call"})
    if rest.get("tool_calls") and _are_objects(rest["tool_calls"]):
        for number, call in enumerate(rest.pop("tool_calls")):
            yield from _call(call, ("delta", "tool_calls", number), {name: name for name in _CALL_TEXTS})


def _call(call: JsonObject, path: Steps, bodies: dict[str, str]) -> Iterator[_Piece]:
    """A call's pieces; `bodies` tells how its members are called in a chunk."""
    opening = {name: value for name, value in call.items() if name != "index"}
    name, texts = "", []
    for body, field in _CALL_TEXTS.items():
        if not isinstance(said := call.get(body), dict):
            continue
        name += said["name"] if _is_text(said.get("name")) else ""
        if _is_text(said.get(field)):
            opening[body] = {**said, field: ""}
            texts.append(_Piece("tool_call", said[field], ((*path, bodies[body], field),)))
    opening = {bodies.get(member, member): value for member, value in opening.items()}
    yield _Piece("tool_call", name, whole=_placed(path, opening))
    yield from texts


def _placed(path: Steps, value: Any) -> JsonObject:
    """An object with the value at its path; a number in it is that of a tool call."""
    for step in reversed(path):
        value = [{"index": step, **value}] if isinstance(step, int) else {step: value}
    placed: JsonObject = value
    return placed


def _join(into: JsonObject, said: JsonObject) -> None:
    """Add to what a chunk's choice says; texts go on, and tool calls are told apart by their numbers."""
    for name, value in said.items():
        old = into.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            _join(old, value)
        elif isinstance(old, str) and isinstance(value, str):
            into[name] = old + value
        elif name == "tool_calls" and isinstance(old, list) and old[-1]["index"] == value[0]["index"]:
            _join_call(old[-1], value[0])
        elif name == "tool_calls" and isinstance(old, list):
            old.extend(value)
        else:
            into[name] = value


def _join_call(old: JsonObject, said: JsonObject) -> None:
    _join(old, {name: value for name, value in said.items() if name != "index"})


def _text_in(parts: list[Any]) -> str:
    """The text of typed parts, however deep it stands."""
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
