"""Puts together what a client read, as simply as the built-in provider's streams allow.

It shares nothing with the pipeline's own assembly: where both come to the same, both are right or wrong in one way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tapeline.pipeline.provider import JsonObject

_TEXTS = ("content", "refusal", "reasoning_content")


def events_in(body: bytes | str) -> Iterator[JsonObject]:
    """The JSON of a stream's events, without `[DONE]` and comments."""
    text = body.decode() if isinstance(body, bytes) else body
    for block in text.split("\n\n"):
        if block.startswith("data: {"):
            yield json.loads(block.removeprefix("data: "))


def joined(chunks: Iterable[JsonObject]) -> JsonObject:
    """A stream's chunks as one completion: choices, usage and id."""
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
    """What a completion says, choice by choice, in the terms of the dataset's columns."""
    return [
        {
            "index": choice["index"],
            "content": choice["message"].get("content"),
            "refusal": choice["message"].get("refusal"),
            "reasoning": choice["message"].get("reasoning_content"),
            "finish_reason": choice.get("finish_reason"),
            "tool_calls": [
                (call["id"], call["function"]["name"], call["function"]["arguments"])
                for call in choice["message"].get("tool_calls") or []
            ],
            "logprobs": choice.get("logprobs"),
        }
        for choice in completion["choices"]
    ]


def recorded_summary(row: JsonObject) -> list[JsonObject]:
    """The same from a row of `exchanges`."""
    return [
        {
            **{name: choice[name] for name in ("index", "content", "refusal", "reasoning", "finish_reason")},
            "tool_calls": [(call["id"], call["name"], call["arguments"]) for call in choice["tool_calls"] or []],
            "logprobs": json.loads(choice["logprobs"]) if choice["logprobs"] else None,
        }
        for choice in row["choices"]
    ]


def _join_choice(choice: JsonObject, part: JsonObject) -> None:
    message, delta = choice["message"], part["delta"]
    for name in _TEXTS:
        if delta.get(name) is not None:
            message[name] = message.get(name, "") + delta[name]
    for call in delta.get("tool_calls") or []:
        _join_call(message.setdefault("tool_calls", []), call)
    choice["finish_reason"] = part["finish_reason"] or choice.get("finish_reason")
    if part.get("logprobs"):
        _join_logprobs(choice, part["logprobs"])


def _join_call(calls: list[JsonObject], delta: JsonObject) -> None:
    if delta["index"] == len(calls):
        calls.append({"id": delta["id"], "function": {"name": delta["function"]["name"], "arguments": ""}})
    calls[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]


def _join_logprobs(choice: JsonObject, part: dict[str, Any]) -> None:
    scores = choice.setdefault("logprobs", dict.fromkeys(part))
    for name, entries in part.items():
        if entries:
            scores[name] = (scores[name] or []) + entries
