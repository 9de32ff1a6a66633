"""The attributes of a span by OpenTelemetry's conventions for generative AI (version 1.41.1), name by name.

https://github.com/open-telemetry/semantic-conventions/blob/v1.41.1/docs/gen-ai/gen-ai-spans.md and openai.md beside it

An attribute with an unknown value is left out. Attributes that the conventions do not define begin with `tapeline.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..apis.rows import WarehouseRow
from ..wire.json_text import JsonObject
from . import otel_messages
from .selection import Exchange

OPERATION = "chat"
#: Well-known values of `gen_ai.provider.name`; another provider keeps its own name.
PROVIDER_NAMES = {
    "azure": "azure.ai.openai",
    "aws-bedrock": "aws.bedrock",
    "google": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "x-ai": "x_ai",
}
#: `response_format.type` -> `gen_ai.output.type`.
_OUTPUT_TYPES = {"text": "text", "json_object": "json", "json_schema": "json"}
#: Attribute -> the column that holds its value.
_COLUMNS = {
    "gen_ai.conversation.id": "conversation_id",
    "gen_ai.request.model": "model",
    "gen_ai.request.seed": "seed",
    "gen_ai.request.temperature": "temperature",
    "gen_ai.request.top_p": "top_p",
    "gen_ai.response.id": "response_id",
    "gen_ai.response.model": "response_model",
    "gen_ai.usage.input_tokens": "prompt_tokens",
    "gen_ai.usage.output_tokens": "completion_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cached_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
    "openai.request.service_tier": "service_tier",
    "openai.response.service_tier": "served_service_tier",
    "openai.response.system_fingerprint": "system_fingerprint",
    "server.address": "host",
    "server.port": "port",
    "tapeline.exchange.id": "exchange_id",
    "tapeline.run": "run",
    "tapeline.outcome": "outcome",
    "tapeline.usage.source": "usage_source",
}
#: Attribute -> the field of the request that holds its value, for numbers that have no column.
_NUMBERS = {
    "gen_ai.request.frequency_penalty": "frequency_penalty",
    "gen_ai.request.presence_penalty": "presence_penalty",
    "gen_ai.request.top_k": "top_k",
}
#: Attribute in seconds since the start -> the column in microseconds.
_TIMES = {
    "gen_ai.response.time_to_first_chunk": "first_event_us",
    "tapeline.response.time_to_first_token": "first_token_us",
}


def span_name(row: WarehouseRow) -> str:
    """Return `{operation} {model}`, as the conventions demand."""
    return f"{OPERATION} {row['model']}" if row["model"] else OPERATION


def attributes(exchange: Exchange, *, with_content: bool) -> JsonObject:
    """Return all attributes of an exchange's span."""
    row = exchange.row
    values: JsonObject = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": PROVIDER_NAMES.get(row["provider"], row["provider"]),
        "openai.api.type": "chat_completions",
        "error.type": error_type(row),
        "gen_ai.output.type": _OUTPUT_TYPES.get(row["response_format_type"] or ""),
        "gen_ai.request.choice.count": row["n"] if row["n"] != 1 else None,
        "gen_ai.request.max_tokens": _first(row["max_completion_tokens"], row["max_tokens"]),
        "gen_ai.request.stream": True if row["stream"] else None,
        "gen_ai.response.finish_reasons": _finish_reasons(row),
    }
    columns: Mapping[str, Any] = row
    values |= {name: columns[column] for name, column in _COLUMNS.items()}
    values |= {name: columns[column] / 1_000_000 for name, column in _TIMES.items() if columns[column] is not None}
    if isinstance(exchange.request, dict):
        values |= {name: _number(exchange.request.get(field)) for name, field in _NUMBERS.items()}
        values["gen_ai.request.stop_sequences"] = _texts(exchange.request.get("stop"))
    if with_content:
        values |= otel_messages.attributes(exchange.request, exchange.response)
    return {name: value for name, value in values.items() if value is not None}


def error_type(row: WarehouseRow) -> str | None:
    """Return the provider's name for a failure, else the status or the outcome; None for a complete exchange."""
    if row["outcome"] == "complete":
        return None
    status = str(row["status_code"]) if row["outcome"] == "http_error" else None
    return str(row["error_type"] or row["error_code"] or status or row["outcome"])


def _finish_reasons(row: WarehouseRow) -> tuple[str, ...] | None:
    """Return one reason for each choice; None if a choice has none."""
    choices = row["choices"] or []
    reasons = tuple(reason for choice in choices if (reason := choice["finish_reason"]))
    return reasons if reasons and len(reasons) == len(choices) else None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def _texts(value: Any) -> tuple[str, ...] | None:
    texts = [value] if isinstance(value, str) else value
    return tuple(texts) if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else None
