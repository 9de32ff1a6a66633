"""Reads a request body into the columns that describe what was asked, and the content it carries.

Messages and tools go to `content`, once each, since a conversation sends all of its history with every turn. What a
parameter means is the provider's business: a value of an unexpected type leaves its column empty, and stays in
`request_params`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ...wire.base64_payloads import Payload, body_text, extract, restore
from ...wire.content_coding import ContentDecoder, whole_limit
from ...wire.json_text import content_hash, dumps, loads, storable
from ...wire.redaction import Redactor
from ..base import Content, ContentOf, ParsedRequest
from .conversation import read_history

# Column -> type; the field has the column's name.
_PARAMETERS: dict[str, type] = {
    "model": str,
    "stream": bool,
    "n": int,
    "temperature": float,
    "top_p": float,
    "max_tokens": int,
    "max_completion_tokens": int,
    "seed": int,
    "reasoning_effort": str,
    "service_tier": str,
    "user": str,
}
# Fields that `content` keeps: field -> column of its id.
_LISTS = {"tools": "tools_id", "functions": "functions_id"}

# What a float cannot hold is nobody's temperature.
MAX_NUMBER = 10**300

#: Left out of `request_fingerprint`: how the answer is delivered, and who asks. None changes what is answered.
VOLATILE_FIELDS = (
    "stream",
    "stream_options",
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "store",
)


def read_request(body: bytes, content_encoding: str = "", redactor: Redactor | None = None) -> ParsedRequest:
    """Read a request body, whole or as much of it as there is; with a redactor, less the credentials in it."""
    decoder = ContentDecoder(content_encoding, limit=whole_limit(len(body)))
    data = b"".join(decoder.feed(body))
    payload = loads(data)
    if not isinstance(payload, dict):
        text = body_text(data if decoder.problem is None else body)
        text = redactor.text(text) if redactor else text
        return ParsedRequest({"request_text": text or None}, (), None, decoder.problem)
    if redactor is not None:
        payload = redactor.value(payload)
    columns = _parameters(payload)
    contents: list[Content] = []
    payloads: list[Payload] = []
    history = None
    if isinstance(messages := payload.get("messages"), list):
        kept = []
        for message in messages:
            without_payloads, found = extract(message)
            kept.append(without_payloads)
            payloads += found
        contents = list(map(_message, kept))
        columns |= _message_columns(messages, contents)
        history = read_history(kept, columns["message_ids"])
        columns["history_keys"] = history.keys
    ids: dict[str, Any] = (
        {"messages": [content.content_id for content in contents]} if isinstance(messages, list) else {}
    )
    for name, column in _LISTS.items():
        if isinstance(payload.get(name), list):
            content = _list(name, payload[name])
            columns[column] = ids[name] = content.content_id
            contents.append(content)
    columns["tool_count"] = sum(len(payload[name]) for name in _LISTS if isinstance(payload.get(name), list))
    columns["payload_count"] = len(payloads)
    # Of what `content` holds its hash is enough.
    columns["request_fingerprint"] = content_hash(
        {name: value for name, value in (payload | ids).items() if name not in VOLATILE_FIELDS}
    )
    return ParsedRequest(columns, (*contents, *map(_payload, payloads)), history, decoder.problem)


def rebuild_request(columns: dict[str, Any], content_of: ContentOf) -> Any:
    """The request that `read_request` read, as JSON or as its text where it was none.

    `content_of` gives the value of what `content` keeps by its id, None where it is missing.
    """
    if columns["request_params"] is None:
        return columns["request_text"]
    request = loads(columns["request_params"])
    if columns["message_ids"] is not None:
        request["messages"] = restore([content_of(content_id) for content_id in columns["message_ids"]], content_of)
    for name, column in _LISTS.items():
        if columns[column] is not None:
            request[name] = content_of(columns[column])
    return request


def _parameters(payload: dict[str, Any]) -> dict[str, Any]:
    columns = {name: _typed(payload.get(name), kind) for name, kind in _PARAMETERS.items()}
    tool_choice = payload.get("tool_choice")
    columns["tool_choice"] = dumps(tool_choice) if isinstance(tool_choice, dict | list) else _typed(tool_choice, str)
    columns["response_format_type"] = _typed(_member(payload, "response_format", "type"), str)
    columns["include_usage"] = _typed(_member(payload, "stream_options", "include_usage"), bool)
    kept_elsewhere = [name for name in ("messages", *_LISTS) if isinstance(payload.get(name), list)]
    columns["request_params"] = dumps({name: v for name, v in payload.items() if name not in kept_elsewhere})
    return columns


def _message_columns(messages: list[Any], contents: list[Content]) -> dict[str, Any]:
    parts = [part for message in messages for part in _parts(message)]
    kinds = {kind for part in parts if isinstance(kind := part.get("type"), str)}
    ids = [content.content_id for content in contents]
    return {
        "message_ids": ids,
        "message_count": len(messages),
        "content_part_count": len(parts),
        "content_part_types": sorted(storable(kind) for kind in kinds),
        "prompt_characters": sum(len(content.text or "") for content in contents),
        "messages_fingerprint": content_hash(ids),
    }


def _message(message: Any) -> Content:
    role = message.get("role") if isinstance(message, dict) else None
    return Content(content_hash(message), "message", _typed(role, str), storable(plain_text(message)), dumps(message))


def _payload(payload: Payload) -> Content:
    return Content(payload.payload_id, "payload", None, None, dumps(payload.text), payload.media_type, payload.size)


def _list(name: str, values: list[Any]) -> Content:
    return Content(content_hash(values), name, None, None, dumps(values))


def plain_text(message: Any) -> str:
    """The text of a message, its parts joined by line ends; empty for a message without any."""
    if not isinstance(message, dict):
        return ""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in _parts(message) if isinstance(part.get("text"), str))


def _parts(message: Any) -> list[dict[str, Any]]:
    content = message.get("content") if isinstance(message, dict) else None
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _member(payload: dict[str, Any], name: str, member: str) -> Any:
    value = payload.get(name)
    return value.get(member) if isinstance(value, dict) else None


def _typed(value: Any, kind: type) -> Any:
    """The value where it is of the column's type, else None."""
    if kind is float:
        is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        return float(value) if is_number and -MAX_NUMBER < value < MAX_NUMBER else None
    if kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
        return value if fits else None
    if kind is str:
        return storable(value) if isinstance(value, str) else None
    return value if isinstance(value, kind) else None
