"""Messages in the form of OpenTelemetry's conventions for generative AI: a list of typed parts each, as JSON text.

https://github.com/open-telemetry/semantic-conventions/blob/v1.41.1/docs/gen-ai/gen-ai-input-messages.json

The instructions of a chat completion are among its messages and stay there: `gen_ai.system_instructions` is for APIs
that have them in a field of their own. A part that the conventions do not know keeps its type and fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ..apis.merge import REASONING_FIELDS
from ..wire.json_text import NOT_JSON, JsonObject, dumps, loads

_DATA_URL = re.compile(r"data:([^;,]*)[^,]*;base64,", re.ASCII)
_AUDIO_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def attributes(request: Any, response: Any) -> JsonObject:
    """Return the attributes that hold content; None for one without any."""
    request = request if isinstance(request, dict) else {}
    response = response if isinstance(response, dict) else {}
    return {
        "gen_ai.input.messages": _json([_input(message) for message in _objects(request.get("messages"))]),
        "gen_ai.output.messages": _json([_output(choice) for choice in _objects(response.get("choices"))]),
        "gen_ai.tool.definitions": _json(_objects(request.get("tools"))),
    }


def _input(message: JsonObject) -> JsonObject:
    if message.get("role") == "tool":
        part = {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": message.get("content")}
        return {"role": "tool", "parts": [part]}
    return {"role": message.get("role"), "parts": list(_parts(message))}


def _output(choice: JsonObject) -> JsonObject:
    message = choice.get("message")
    parts = list(_parts(message)) if isinstance(message, dict) else []
    return {"role": "assistant", "parts": parts, "finish_reason": choice.get("finish_reason")}


def _parts(message: JsonObject) -> Iterator[JsonObject]:
    for name in REASONING_FIELDS:
        if isinstance(reasoning := message.get(name), str) and reasoning:
            yield {"type": "reasoning", "content": reasoning}
            break
    content = message.get("content")
    if isinstance(content, str):
        yield {"type": "text", "content": content}
    yield from map(_part, _objects(content))
    if message.get("refusal"):
        yield {"type": "refusal", "content": message["refusal"]}
    yield from map(_call, _objects(message.get("tool_calls")))
    if isinstance(function := message.get("function_call"), dict):
        yield _call({"function": function})


def _part(part: JsonObject) -> JsonObject:
    return _PARTS.get(str(part.get("type")), dict)(part)


def _text(part: JsonObject) -> JsonObject:
    return {"type": "text", "content": part.get("text")}


def _image(part: JsonObject) -> JsonObject:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    data_url = _DATA_URL.match(url) if isinstance(url, str) else None
    if data_url:
        return {"type": "blob", "modality": "image", "mime_type": data_url[1], "content": str(url)[data_url.end() :]}
    return {"type": "uri", "modality": "image", "uri": url}


def _audio(part: JsonObject) -> JsonObject:
    audio = part.get("input_audio")
    if not isinstance(audio, dict):
        return dict(part)
    media_type = _AUDIO_TYPES.get(str(audio.get("format")))
    blob = {"type": "blob", "modality": "audio", "content": audio.get("data")}
    return blob | ({"mime_type": media_type} if media_type else {})


_PARTS: dict[str, Callable[[JsonObject], JsonObject]] = {"text": _text, "image_url": _image, "input_audio": _audio}


def _call(call: JsonObject) -> JsonObject:
    body: JsonObject = next((call[name] for name in ("function", "custom") if isinstance(call.get(name), dict)), {})
    arguments = body.get("arguments", body.get("input"))
    parsed = loads(arguments) if isinstance(arguments, str) else arguments
    return {
        "type": "tool_call",
        "id": call.get("id"),
        "name": body.get("name"),
        "arguments": arguments if parsed is NOT_JSON else parsed,
    }


def _objects(values: Any) -> list[JsonObject]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _json(values: list[JsonObject]) -> str | None:
    return dumps(values) if values else None
