"""Takes all text out of a record, for recordings that are to keep none: sizes, hashes and figures stay.

Names stay that tell a call's kind: of the model, of its settings, of the provider's error, of the client's program.
What a user, a model or a tool wrote goes, also where an error or a problem quotes it.
"""

from __future__ import annotations

from typing import Any

from ..wire.json_text import JsonObject, dumps, loads
from .record import Record

_WRITTEN = (
    "user",
    "request_params",
    "request_text",
    "response_extra",
    "response_text",
    "error_message",
    "error_param",
    "error_raw",
)
_TOOL_CHOICES = ("auto", "none", "required")
_CHOICE_KEPT = ("index", "role", "finish_reason")
_CALL_KEPT = ("index", "type")


def without_content(record: Record) -> Record:
    """The record without text; its contents keep their ids alone, which `content_without_text` leaves standing."""
    row = record.row | dict.fromkeys(_WRITTEN)
    row["content_kept"] = False
    row["tool_choice"] = row["tool_choice"] if row["tool_choice"] in _TOOL_CHOICES else None
    if row["choices"] is not None:
        row["choices"] = [_choice(choice) for choice in row["choices"]]
    if row["usage_raw"] is not None:
        row["usage_raw"] = dumps(_figures(loads(row["usage_raw"])))
    row["outcome_detail"] = _unquoted(row["outcome_detail"])
    row["reassembly_problems"] = [_unquoted(problem) for problem in row["reassembly_problems"] or []]
    return Record(row, record.contents)


def content_without_text(row: JsonObject) -> JsonObject:
    """A row of `content` without what it says."""
    return row | {"text": None, "json": None}


def _choice(choice: JsonObject) -> JsonObject:
    calls = choice["tool_calls"]
    kept_calls = None if calls is None else [_only(call, _CALL_KEPT) for call in calls]
    return _only(choice, _CHOICE_KEPT) | {"tool_calls": kept_calls}


def _only(columns: JsonObject, kept: tuple[str, ...]) -> JsonObject:
    return {name: value if name in kept else None for name, value in columns.items()}


def _figures(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _figures(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_figures(member) for member in value]
    return None if isinstance(value, str) else value


def _unquoted(told: str | None) -> str | None:
    """What was told, less what it quotes, which stands after a colon."""
    return None if told is None else told.partition(": ")[0]
