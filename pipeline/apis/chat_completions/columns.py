"""Lays a completion out in columns, and puts it together again.

`rebuild_completion(flatten_completion(x)) == x` for every object: what the typed columns cannot say, a field nobody
knows or a value of an unexpected type, goes to a JSON text beside them.
"""

from __future__ import annotations

from typing import Any

from ...wire.json_text import JsonObject, dumps, loads, storable
from ..merge import LOGPROBS_FIELDS, REASONING_FIELDS

# Field of a completion -> column and the type its value must have to go there.
_RESPONSE_COLUMNS: dict[str, tuple[str, type]] = {
    "id": ("response_id", str),
    "model": ("response_model", str),
    "created": ("response_created", int),
    "system_fingerprint": ("system_fingerprint", str),
    "service_tier": ("served_service_tier", str),
}
_MESSAGE_FIELDS = ("role", "content", "refusal")
_DEFAULT_REASONING = REASONING_FIELDS[0]
_DEFAULT_LOGPROBS = LOGPROBS_FIELDS[0]
_LEGACY_CALL = "function_call"


def flatten_completion(completion: JsonObject | None) -> JsonObject:
    """The response columns of a completion."""
    columns: JsonObject = dict.fromkeys(column for column, _ in _RESPONSE_COLUMNS.values())
    columns |= {"choices": None, "usage_raw": None, "response_extra": None}
    if completion is None:
        return columns
    extra: JsonObject = {}
    for name, value in completion.items():
        column, kind = _RESPONSE_COLUMNS.get(name, ("", object))
        if column and _fits(value, kind):
            columns[column] = value
        elif name == "usage" and value is not None:
            columns["usage_raw"] = dumps(value)
        elif name == "choices" and _are_objects(value):
            columns["choices"] = [_flatten_choice(choice) for choice in value]
        else:
            extra[name] = value
    # An empty object says that there was a completion.
    columns["response_extra"] = dumps(extra) if extra or not completion else None
    return columns


def rebuild_completion(columns: JsonObject) -> JsonObject | None:
    """The completion that `flatten_completion` was given; None where there was none."""
    laid_out = ("choices", "usage_raw", "response_extra", *(column for column, _ in _RESPONSE_COLUMNS.values()))
    if all(columns[column] is None for column in laid_out):
        return None
    completion: JsonObject = {}
    for name, (column, _) in _RESPONSE_COLUMNS.items():
        if columns[column] is not None:
            completion[name] = columns[column]
    if columns["choices"] is not None:
        completion["choices"] = [_rebuild_choice(choice) for choice in columns["choices"]]
    if columns["usage_raw"] is not None:
        completion["usage"] = loads(columns["usage_raw"])
    if columns["response_extra"] is not None:
        completion |= loads(columns["response_extra"])
    return completion


def _flatten_choice(choice: JsonObject) -> JsonObject:
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    columns: JsonObject = {"index": choice["index"] if _fits(choice.get("index"), int) else None}
    for name in _MESSAGE_FIELDS:
        columns[name] = _text(message.get(name))
    reasoning_field = next((name for name in REASONING_FIELDS if isinstance(message.get(name), str)), None)
    columns["reasoning"] = _text(message[reasoning_field]) if reasoning_field else None
    columns["finish_reason"] = _text(choice.get("finish_reason"))
    columns["tool_calls"] = _flatten_tool_calls(message)
    logprobs_field = next((name for name in LOGPROBS_FIELDS if choice.get(name) is not None), None)
    columns["logprobs"] = dumps(choice[logprobs_field]) if logprobs_field else None
    columns["extra"] = None
    extra: JsonObject = {}
    if reasoning_field not in (None, _DEFAULT_REASONING):
        extra["reasoning_field"] = reasoning_field
    if logprobs_field not in (None, _DEFAULT_LOGPROBS):
        extra["logprobs_field"] = logprobs_field
    said = _rebuild_choice({**columns, "extra": dumps(extra) if extra else None})
    said_message = said.pop("message", {})
    if missing := {name: value for name, value in message.items() if not _same(said_message, name, value)}:
        extra["message"] = missing
    others = {name: value for name, value in choice.items() if name != "message" or value != message}
    if missing := {name: value for name, value in others.items() if not _same(said, name, value)}:
        extra["choice"] = missing
    if isinstance(choice.get("message"), dict) and not message:
        extra["message"] = {}
    columns["extra"] = dumps(extra) if extra else None
    return columns


def _rebuild_choice(columns: JsonObject) -> JsonObject:
    extra: JsonObject = loads(columns["extra"]) if columns["extra"] is not None else {}
    message = {name: columns[name] for name in _MESSAGE_FIELDS if columns[name] is not None}
    if columns["reasoning"] is not None:
        message[extra.get("reasoning_field", _DEFAULT_REASONING)] = columns["reasoning"]
    calls = columns["tool_calls"]
    if calls is not None and not any(call["type"] == _LEGACY_CALL for call in calls):
        message["tool_calls"] = [_rebuild_tool_call(call) for call in calls]
    message |= extra.get("message", {})
    choice: JsonObject = {}
    if columns["index"] is not None:
        choice["index"] = columns["index"]
    if message or "message" in extra:
        choice["message"] = message
    if columns["logprobs"] is not None:
        choice[extra.get("logprobs_field", _DEFAULT_LOGPROBS)] = loads(columns["logprobs"])
    if columns["finish_reason"] is not None:
        choice["finish_reason"] = columns["finish_reason"]
    choice |= extra.get("choice", {})
    return choice


def _flatten_tool_calls(message: JsonObject) -> list[JsonObject] | None:
    """The calls as far as the columns can say them; the legacy `function_call` is one without an id."""
    calls = message.get("tool_calls")
    if calls is None and isinstance(message.get("function_call"), dict):
        calls = [{"type": _LEGACY_CALL, "function": message["function_call"]}]
    if not isinstance(calls, list) or not _are_objects(calls):
        return None
    return [_flatten_tool_call(position, call) for position, call in enumerate(calls)]


def _flatten_tool_call(position: int, call: JsonObject) -> JsonObject:
    body: JsonObject = next((call[name] for name in ("function", "custom") if isinstance(call.get(name), dict)), {})
    arguments = body.get("arguments", body.get("input"))
    columns = {
        "id": call.get("id"),
        "type": call.get("type"),
        "name": body.get("name"),
        "arguments": arguments if arguments is None or isinstance(arguments, str) else dumps(arguments),
    }
    texts = {name: _text(value) for name, value in columns.items()}
    return {**texts, "index": position}


def _rebuild_tool_call(columns: JsonObject) -> JsonObject:
    call = {name: columns[name] for name in ("id", "type") if columns[name] is not None}
    return {
        **call,
        "function": {name: columns[name] for name in ("name", "arguments") if columns[name] is not None},
    }


def _same(said: JsonObject, name: str, value: Any) -> bool:
    return name in said and value is not None and said[name] == value


def _text(value: Any) -> str | None:
    """Text as a column can hold it; where that is not what was said, `extra` has it."""
    return storable(value) if isinstance(value, str) else None


def _fits(value: Any, kind: type) -> bool:
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return isinstance(value, kind) and (not isinstance(value, str) or storable(value) == value)


def _are_objects(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)
