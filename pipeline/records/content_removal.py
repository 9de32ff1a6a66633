"""Removes all text from a record, for recordings that are to keep none; sizes, hashes and figures stay.

Names stay that show what kind of call it was: those of the model, of its settings, of the provider's error and of the
client's program. Everything that a user, a model or a tool wrote goes, also where an error or a problem quotes it.
"""

from __future__ import annotations

from typing import Any

from ..apis.rows import Choice, ExchangeRow, ToolCall, all_null
from ..wire.json_text import JsonObject, dumps, loads
from .record import Record

_TOOL_CHOICES = ("auto", "none", "required")


def without_content(record: Record) -> Record:
    """Return the record without text. Its contents still hold theirs: `content_without_text` is for their rows."""
    old = record.row
    row: ExchangeRow = {
        **old,
        "user": None,
        "tool_choice": old["tool_choice"] if old["tool_choice"] in _TOOL_CHOICES else None,
        "request_params": None,
        "request_text": None,
        "choices": None if old["choices"] is None else [_choice(choice) for choice in old["choices"]],
        "response_extra": None,
        "response_text": None,
        "error_message": None,
        "error_param": None,
        "error_raw": None,
        "content_kept": False,
        "usage_raw": None if old["usage_raw"] is None else dumps(_figures(loads(old["usage_raw"]))),
        "outcome_detail": None if old["outcome_detail"] is None else _unquoted(old["outcome_detail"]),
        "reassembly_problems": [_unquoted(problem) for problem in old["reassembly_problems"] or []],
    }
    return Record(row, record.contents)


def content_without_text(row: JsonObject) -> JsonObject:
    """Return a row of `content` without its text."""
    return row | {"text": None, "json": None}


def _choice(choice: Choice) -> Choice:
    calls = choice["tool_calls"]
    return {
        **all_null(Choice),
        "index": choice["index"],
        "role": choice["role"],
        "finish_reason": choice["finish_reason"],
        "tool_calls": None if calls is None else [_tool_call(call) for call in calls],
    }


def _tool_call(call: ToolCall) -> ToolCall:
    return {**all_null(ToolCall), "index": call["index"], "type": call["type"]}


def _figures(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _figures(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_figures(member) for member in value]
    return None if isinstance(value, str) else value


def _unquoted(problem: str) -> str:
    """Return a problem without what it quotes, which follows a colon."""
    return problem.partition(": ")[0]
