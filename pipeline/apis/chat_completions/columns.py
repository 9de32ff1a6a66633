"""Lays a completion out in columns, and rebuilds it from them.

`rebuild_completion(flatten_completion(x)) == x` for every object: unknown fields, and values of a type that the typed
columns cannot hold, go to JSON text beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from ...wire.json_text import JsonObject, dumps, loads, storable
from ..merge import LOGPROBS_FIELDS, REASONING_FIELDS
from ..rows import Choice, CompletionColumns, ToolCall, all_null

_DEFAULT_REASONING = REASONING_FIELDS[0]
_DEFAULT_LOGPROBS = LOGPROBS_FIELDS[0]
_LEGACY_CALL = "function_call"


def flatten_completion(completion: JsonObject | None) -> CompletionColumns:
    """Return the response columns of a completion."""
    if completion is None:
        return all_null(CompletionColumns)
    rest = dict(completion)
    columns: CompletionColumns = {
        "response_id": _take_text(rest, "id"),
        "response_model": _take_text(rest, "model"),
        "response_created": _take_integer(rest, "created"),
        "system_fingerprint": _take_text(rest, "system_fingerprint"),
        "served_service_tier": _take_text(rest, "service_tier"),
        "choices": None,
        "usage_raw": None,
        "response_extra": None,
    }
    if _are_objects(choices := rest.get("choices")):
        del rest["choices"]
        columns["choices"] = [_flatten_choice(choice) for choice in choices]
    if (usage := rest.get("usage")) is not None:
        del rest["usage"]
        columns["usage_raw"] = dumps(usage)
    # An empty object shows that there was a completion.
    columns["response_extra"] = dumps(rest) if rest or not completion else None
    return columns


def rebuild_completion(columns: CompletionColumns) -> JsonObject | None:
    """Return the completion that `flatten_completion` was given; None where there was none."""
    fields = {
        "id": columns["response_id"],
        "model": columns["response_model"],
        "created": columns["response_created"],
        "system_fingerprint": columns["system_fingerprint"],
        "service_tier": columns["served_service_tier"],
    }
    completion = _without_none(fields)
    if not completion and all(columns[name] is None for name in ("choices", "usage_raw", "response_extra")):
        return None
    if columns["choices"] is not None:
        completion["choices"] = [_rebuild_choice(choice) for choice in columns["choices"]]
    if columns["usage_raw"] is not None:
        completion["usage"] = loads(columns["usage_raw"])
    if columns["response_extra"] is not None:
        completion |= loads(columns["response_extra"])
    return completion


def _flatten_choice(choice: JsonObject) -> Choice:
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    reasoning_field = next((name for name in REASONING_FIELDS if isinstance(message.get(name), str)), None)
    logprobs_field = next((name for name in LOGPROBS_FIELDS if choice.get(name) is not None), None)
    columns: Choice = {
        "index": choice["index"] if _is_integer(choice.get("index")) else None,
        "role": _text(message.get("role")),
        "content": _text(message.get("content")),
        "refusal": _text(message.get("refusal")),
        "reasoning": _text(message[reasoning_field]) if reasoning_field else None,
        "finish_reason": _text(choice.get("finish_reason")),
        "tool_calls": _flatten_tool_calls(message),
        "logprobs": dumps(choice[logprobs_field]) if logprobs_field else None,
        "extra": None,
    }
    extra: JsonObject = {}
    if reasoning_field not in (None, _DEFAULT_REASONING):
        extra["reasoning_field"] = reasoning_field
    if logprobs_field not in (None, _DEFAULT_LOGPROBS):
        extra["logprobs_field"] = logprobs_field
    extra |= _lost(choice, message, {**columns, "extra": dumps(extra) if extra else None})
    columns["extra"] = dumps(extra) if extra else None
    return columns


def _lost(choice: JsonObject, message: JsonObject, columns: Choice) -> JsonObject:
    """Return the fields of a choice and of its message that cannot be rebuilt from these columns alone."""
    lost: JsonObject = {}
    rebuilt = _rebuild_choice(columns)
    rebuilt_message = rebuilt.pop("message", {})
    if missing := {name: value for name, value in message.items() if not _is_same(rebuilt_message, name, value)}:
        lost["message"] = missing
    others = {name: value for name, value in choice.items() if name != "message" or value != message}
    if missing := {name: value for name, value in others.items() if not _is_same(rebuilt, name, value)}:
        lost["choice"] = missing
    if isinstance(choice.get("message"), dict) and not message:
        lost["message"] = {}
    return lost


def _rebuild_choice(columns: Choice) -> JsonObject:
    extra: JsonObject = loads(columns["extra"]) if columns["extra"] is not None else {}
    texts = {"role": columns["role"], "content": columns["content"], "refusal": columns["refusal"]}
    message = _without_none(texts)
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


def _flatten_tool_calls(message: JsonObject) -> list[ToolCall] | None:
    """Return the calls as far as the columns can hold them; the legacy `function_call` is a call without an id."""
    calls = message.get("tool_calls")
    if calls is None and isinstance(message.get("function_call"), dict):
        calls = [{"type": _LEGACY_CALL, "function": message["function_call"]}]
    if not _are_objects(calls):
        return None
    return [_flatten_tool_call(position, call) for position, call in enumerate(calls)]


def _flatten_tool_call(position: int, call: JsonObject) -> ToolCall:
    body: JsonObject = next((call[name] for name in ("function", "custom") if isinstance(call.get(name), dict)), {})
    arguments = body.get("arguments", body.get("input"))
    return {
        "index": position,
        "id": _text(call.get("id")),
        "type": _text(call.get("type")),
        "name": _text(body.get("name")),
        "arguments": _text(arguments if arguments is None or isinstance(arguments, str) else dumps(arguments)),
    }


def _rebuild_tool_call(columns: ToolCall) -> JsonObject:
    call = {"id": columns["id"], "type": columns["type"]}
    body = {"name": columns["name"], "arguments": columns["arguments"]}
    return {**_without_none(call), "function": _without_none(body)}


def _without_none(fields: Mapping[str, Any]) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


def _is_same(rebuilt: JsonObject, name: str, value: Any) -> bool:
    return name in rebuilt and value is not None and rebuilt[name] == value


def _take_text(fields: JsonObject, name: str) -> str | None:
    """Remove a field and return its value, if it is text that a column can hold."""
    value = fields.get(name)
    if not isinstance(value, str) or storable(value) != value:
        return None
    del fields[name]
    return value


def _take_integer(fields: JsonObject, name: str) -> int | None:
    value = fields.get(name)
    if not _is_integer(value):
        return None
    del fields[name]
    return value


def _text(value: Any) -> str | None:
    """Return text as a column can hold it; where that is not the text that was sent, `extra` has the original."""
    return storable(value) if isinstance(value, str) else None


def _is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _are_objects(values: Any) -> TypeGuard[list[JsonObject]]:
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)
