"""Reads a request body into the columns that describe it and the content that it carries.

Messages and tools go to `content`, each once, because a conversation repeats all of its history with every request.
Only the provider knows what a parameter means: a value of an unexpected type leaves its column empty, and stays in
`request_params`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ...wire.base64_payloads import Payload, body_text, extract, restore
from ...wire.content_coding import ContentDecoder, whole_limit
from ...wire.json_text import JsonObject, content_hash, dumps, loads, storable
from ...wire.redaction import Redactor
from ..base import Content, ContentOf, History, ParsedRequest
from ..rows import RequestColumns, all_null
from .conversation import read_history

# Fields that `content` keeps, besides the messages.
_LISTS = ("tools", "functions")

# A larger number does not fit into a float, and no parameter has such a value.
MAX_NUMBER = 10**300

#: Left out of `request_fingerprint`: how the response is delivered, and for whom. None of them changes the response.
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
    """Read a request body or its beginning; a redactor replaces the credentials in it."""
    decoder = ContentDecoder(content_encoding, limit=whole_limit(len(body)))
    data = b"".join(decoder.feed(body))
    payload = loads(data)
    if not isinstance(payload, dict):
        text = body_text(data if decoder.problem is None else body)
        text = redactor.text(text) if redactor else text
        return ParsedRequest({**all_null(RequestColumns), "request_text": text or None}, (), None, decoder.problem)
    if redactor is not None:
        payload = redactor.value(payload)
    return _read_object(payload, decoder.problem)


def _read_object(payload: JsonObject, problem: str | None) -> ParsedRequest:
    messages = payload.get("messages")
    messages = messages if isinstance(messages, list) else None
    stored, payloads = _without_payloads(messages or [])
    contents = [_message(message) for message in stored]
    ids: dict[str, Any] = {} if messages is None else {"messages": [content.content_id for content in contents]}
    history = None if messages is None else read_history(stored, ids["messages"])
    lists = {name: _list(name, payload[name]) for name in _LISTS if isinstance(payload.get(name), list)}
    ids |= {name: content.content_id for name, content in lists.items()}
    columns = _columns(payload, messages, contents, ids, history)
    columns["payload_count"] = len(payloads)
    return ParsedRequest(columns, (*contents, *lists.values(), *map(_payload, payloads)), history, problem)


def rebuild_request(columns: RequestColumns, content_of: ContentOf) -> Any:
    """Return the request that `read_request` read, as JSON, or as its text where it was no JSON object."""
    if columns["request_params"] is None:
        return columns["request_text"]
    request = loads(columns["request_params"])
    if columns["message_ids"] is not None:
        request["messages"] = restore([content_of(content_id) for content_id in columns["message_ids"]], content_of)
    for name, content_id in (("tools", columns["tools_id"]), ("functions", columns["functions_id"])):
        if content_id is not None:
            request[name] = content_of(content_id)
    return request


def _without_payloads(messages: list[Any]) -> tuple[list[Any], list[Payload]]:
    stored = []
    payloads: list[Payload] = []
    for message in messages:
        without_payloads, found = extract(message)
        stored.append(without_payloads)
        payloads += found
    return stored, payloads


def _columns(
    payload: JsonObject,
    messages: list[Any] | None,
    contents: list[Content],
    ids: dict[str, Any],
    history: History | None,
) -> RequestColumns:
    """Return the columns of a request; `ids` has the ids of its fields that `content` keeps."""
    tool_choice = payload.get("tool_choice")
    parts = [part for message in messages or [] for part in _parts(message)]
    types = {kind for part in parts if isinstance(kind := part.get("type"), str)}
    # The hash is enough for what `content` holds.
    fingerprinted = {name: value for name, value in (payload | ids).items() if name not in VOLATILE_FIELDS}
    return {
        "model": _text(payload.get("model")),
        "stream": _flag(payload.get("stream")),
        "n": _integer(payload.get("n")),
        "temperature": _number(payload.get("temperature")),
        "top_p": _number(payload.get("top_p")),
        "max_tokens": _integer(payload.get("max_tokens")),
        "max_completion_tokens": _integer(payload.get("max_completion_tokens")),
        "seed": _integer(payload.get("seed")),
        "reasoning_effort": _text(payload.get("reasoning_effort")),
        "service_tier": _text(payload.get("service_tier")),
        "tool_choice": dumps(tool_choice) if isinstance(tool_choice, dict | list) else _text(tool_choice),
        "response_format_type": _text(_member(payload, "response_format", "type")),
        "user": _text(payload.get("user")),
        "include_usage": _flag(_member(payload, "stream_options", "include_usage")),
        "request_params": dumps({name: value for name, value in payload.items() if name not in ids}),
        "request_text": None,
        "message_ids": ids.get("messages"),
        "tools_id": ids.get("tools"),
        "functions_id": ids.get("functions"),
        "message_count": None if messages is None else len(messages),
        "tool_count": sum(len(payload[name]) for name in _LISTS if name in ids),
        "content_part_count": None if messages is None else len(parts),
        "content_part_types": None if messages is None else sorted(storable(kind) for kind in types),
        "payload_count": None,
        "prompt_characters": None if messages is None else sum(len(content.text or "") for content in contents),
        "request_fingerprint": content_hash(fingerprinted),
        "messages_fingerprint": None if messages is None else content_hash(ids["messages"]),
        "history_keys": None if history is None else history.keys,
    }


def _message(message: Any) -> Content:
    role = message.get("role") if isinstance(message, dict) else None
    return Content(content_hash(message), "message", _text(role), storable(plain_text(message)), dumps(message))


def _payload(payload: Payload) -> Content:
    return Content(payload.payload_id, "payload", None, None, dumps(payload.text), payload.media_type, payload.size)


def _list(name: str, values: list[Any]) -> Content:
    return Content(content_hash(values), name, None, None, dumps(values))


def plain_text(message: Any) -> str:
    """Return the text of a message, its parts joined by line ends; empty for a message without text."""
    if not isinstance(message, dict):
        return ""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in _parts(message) if isinstance(part.get("text"), str))


def _parts(message: Any) -> list[JsonObject]:
    content = message.get("content") if isinstance(message, dict) else None
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _member(payload: JsonObject, name: str, member: str) -> Any:
    value = payload.get(name)
    return value.get(member) if isinstance(value, dict) else None


def _text(value: Any) -> str | None:
    """Return the value if it is text, as a column can hold it. The functions below do the same for other types."""
    return storable(value) if isinstance(value, str) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return value if fits else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return float(value) if is_number and -MAX_NUMBER < value < MAX_NUMBER else None
