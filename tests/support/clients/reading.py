"""Reassembles what a client read, as simply as the built-in provider's streams allow.

It shares no code with the pipeline's own reassembly, so that the two can be compared. It reads only what the dataset
has columns for; `joining` keeps every field.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tapeline.pipeline.demo import JsonObject

_REASONING = ("reasoning_content", "reasoning", "thought")
_TEXTS = ("content", "refusal", *_REASONING)
_LOGPROBS = ("logprobs", "log_probs")


def events_in(body: bytes | str) -> Iterator[JsonObject]:
    """Yield the JSON of a stream's events, without `[DONE]` and comments."""
    text = body.decode() if isinstance(body, bytes) else body
    for block in text.split("\n\n"):
        if block.startswith("data: {"):
            yield json.loads(block.removeprefix("data: "))


def joined(chunks: Iterable[JsonObject]) -> JsonObject:
    """Join a stream's chunks into one completion: choices, usage and id."""
    completion: JsonObject = {"choices": [], "usage": None}
    choices: dict[int, JsonObject] = {}
    for chunk in chunks:
        completion["id"] = chunk["id"]
        completion["usage"] = chunk.get("usage") or completion["usage"]
        for part in chunk["choices"]:
            _join_choice(choices.setdefault(part["index"], {"message": {}}), part)
    completion["choices"] = [{"index": index, **choices[index]} for index in sorted(choices)]
    return completion


def summary(completion: JsonObject) -> list[JsonObject]:
    """Return a completion's choices in the terms of the dataset's columns."""
    return [
        {
            "index": choice["index"],
            "content": choice["message"].get("content"),
            "refusal": choice["message"].get("refusal"),
            "reasoning": _first(choice["message"], _REASONING),
            "finish_reason": choice.get("finish_reason"),
            "tool_calls": [
                (call.get("id"), call["function"]["name"], call["function"]["arguments"])
                for call in _calls(choice["message"])
            ],
            "logprobs": _first(choice, _LOGPROBS),
        }
        for choice in completion["choices"]
    ]


def recorded_summary(row: JsonObject) -> list[JsonObject]:
    """Return the same from a row of `exchanges`."""
    return [
        {
            **{name: choice[name] for name in ("index", "content", "refusal", "reasoning", "finish_reason")},
            "tool_calls": [(call["id"], call["name"], call["arguments"]) for call in choice["tool_calls"] or []],
            "logprobs": json.loads(choice["logprobs"]) if choice["logprobs"] else None,
        }
        for choice in row["choices"]
    ]


def _first(values: JsonObject, names: tuple[str, ...]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


def _calls(message: JsonObject) -> list[JsonObject]:
    """Return a message's tool calls; a legacy function call counts as one without an id."""
    legacy = message.get("function_call")
    return message.get("tool_calls") or ([{"function": legacy}] if legacy else [])


def _join_choice(choice: JsonObject, part: JsonObject) -> None:
    message, delta = choice["message"], part["delta"]
    for name in _TEXTS:
        if delta.get(name) is not None:
            message[name] = message.get(name, "") + delta[name]
    for call in delta.get("tool_calls") or []:
        _join_call(message.setdefault("tool_calls", []), call)
    if delta.get("function_call"):
        _join_function(message.setdefault("function_call", {"arguments": ""}), delta["function_call"])
    choice["finish_reason"] = part.get("finish_reason") or choice.get("finish_reason")
    if logprobs := _first(part, _LOGPROBS):
        _join_logprobs(choice, logprobs)


def _join_call(calls: list[JsonObject], delta: JsonObject) -> None:
    if delta["index"] == len(calls):
        calls.append({"id": delta["id"], "function": {"arguments": ""}})
    _join_function(calls[delta["index"]]["function"], delta["function"])


def _join_function(function: JsonObject, delta: JsonObject) -> None:
    function.update({name: value for name, value in delta.items() if name == "name"})
    function["arguments"] += delta["arguments"]


def _join_logprobs(choice: JsonObject, part: dict[str, Any]) -> None:
    scores = choice.setdefault("logprobs", dict.fromkeys(part))
    for name, entries in part.items():
        if entries:
            scores[name] = (scores[name] or []) + entries
