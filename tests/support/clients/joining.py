"""Joins the chunks of a stream, as simply as the built-in provider's streams allow.

The pipeline's own reassembly is more than this, and is tested elsewhere.
"""

from __future__ import annotations

import json

from tapeline.pipeline.wire.json_text import JsonObject

MESSAGE_TEXTS = ("content", "refusal", "reasoning_content", "reasoning", "thought")
CHUNK_ONLY = ("choices", "usage", "object")


def events(data: bytes) -> list[JsonObject]:
    """Return the payloads of a stream's events; fails unless the stream ends with `[DONE]`."""
    blocks = data.decode().split("\n\n")
    assert blocks.pop() == ""
    lines = [block for block in blocks if not block.startswith(":")]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def join_text(kept: JsonObject, name: str, part: str | None) -> None:
    kept[name] = (kept.get(name) or "") + part if part is not None else kept.get(name)


def join_function(kept: JsonObject, piece: JsonObject) -> None:
    join_text(kept, "arguments", piece["arguments"])
    kept |= {"name": piece["name"]} if "name" in piece else {}


def join_delta(message: JsonObject, delta: JsonObject) -> None:
    for name, value in delta.items():
        if name in MESSAGE_TEXTS:
            join_text(message, name, value)
        elif name == "function_call":
            join_function(message.setdefault(name, {}), value)
        elif name == "tool_calls":
            calls = message.setdefault(name, [])
            for piece in value:
                calls.extend({"function": {}} for _ in range(piece["index"] + 1 - len(calls)))
                call = calls[piece["index"]]
                join_function(call["function"], piece["function"])
                call |= {key: piece[key] for key in ("id", "type") if key in piece}
        else:
            message[name] = value


def join_choice(choice: JsonObject, piece: JsonObject) -> None:
    join_delta(choice["message"], piece["delta"])
    for name, value in piece.items():
        if name in ("logprobs", "log_probs"):
            kept = choice.setdefault(name, None) or dict.fromkeys(value or ())
            joined = {key: (kept[key] or []) + part if part else kept[key] for key, part in (value or {}).items()}
            choice[name] = joined or choice[name]
        elif name != "delta" and (name, value) != ("finish_reason", None):
            choice[name] = value


def join(chunks: list[JsonObject]) -> JsonObject:
    """Join chunks into the completion that they add up to."""
    whole: JsonObject = {"object": "chat.completion"}
    choices: dict[int, JsonObject] = {}
    for chunk in chunks:
        whole |= {name: value for name, value in chunk.items() if name not in CHUNK_ONLY}
        whole |= {"usage": chunk["usage"]} if chunk.get("usage") else {}
        for piece in chunk["choices"]:
            join_choice(choices.setdefault(piece["index"], {"message": {}}), piece)
    return whole | {"choices": [choices[index] for index in sorted(choices)]}
