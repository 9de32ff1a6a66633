"""Computes the keys by which a request finds the exchange that it continues.

A client that continues a conversation sends its history: the messages of the earlier request, the response, and the
messages since. A key is a hash of the whole conversation up to and including a response. An exchange has the keys of
its responses, and a later exchange has the keys of the responses in its history; equal keys mean that the later one
continues the earlier one. Changes that clients make to a response before they send it back do not change the key: see
`_content`.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from ...wire.json_text import NOT_JSON, JsonObject, content_hash, loads
from ..base import History

# Marks what a provider is to cache. Clients move the mark along as a conversation grows, and it changes no content.
_CACHE_MARK = "cache_control"


def read_history(messages: list[Any], content_ids: list[str]) -> History:
    """Return the history in a request's messages; `content_ids` are the hashes of the messages."""
    state = b""
    keys: list[int] = []
    for message, content_id in zip(messages, content_ids, strict=True):
        if isinstance(message, dict) and message.get("role") == "assistant":
            state, more = _add_response(state, message)
            keys += more
        else:
            state = _advance(state, _unmarked_hash(message, content_id))
    return History(keys, state)


def answer_keys(history: History, completion: JsonObject | None) -> list[int]:
    """Return the keys of a completion's choices, without repetitions."""
    choices = completion.get("choices") if completion is not None else None
    if not isinstance(choices, list):
        return []
    messages = [choice.get("message") for choice in choices if isinstance(choice, dict)]
    keys = [
        key for message in messages if isinstance(message, dict) for key in _add_response(history.state, message)[1]
    ]
    return list(dict.fromkeys(keys))


def _add_response(state: bytes, message: JsonObject) -> tuple[bytes, list[int]]:
    """Return the state after a response, and its keys: none for one without text and calls."""
    text, calls = _content(message)
    state = _advance(state, content_hash(["assistant", text, calls]))
    if not text and not calls:
        return state, []
    ids = [call_id for call in _calls(message) if isinstance(call_id := call.get("id"), str) and call_id]
    return state, [_key(state), *([_key(_advance(state, content_hash(ids)))] if ids else [])]


def _advance(state: bytes, content_id: str) -> bytes:
    return sha256(state + content_id.encode("ascii")).digest()


def _key(state: bytes) -> int:
    return int.from_bytes(state[:8], "big", signed=True)


def _unmarked_hash(message: Any, content_id: str) -> str:
    """Return the hash of a message without cache marks; one text has the same hash as a string and as a part."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return content_hash(_unmarked(message)) if isinstance(message, dict) and _CACHE_MARK in message else content_id
    parts = [_unmarked(part) for part in content]
    return content_hash({**_unmarked(message), "content": _plain(parts)})


def _unmarked(value: Any) -> Any:
    return {name: member for name, member in value.items() if name != _CACHE_MARK} if isinstance(value, dict) else value


def _plain(parts: list[Any]) -> Any:
    is_one_text = len(parts) == 1 and isinstance(parts[0], dict) and parts[0].keys() == {"type", "text"}
    return parts[0]["text"] if is_one_text and parts[0]["type"] == "text" else parts


def _content(message: JsonObject) -> tuple[str, list[Any]]:
    """Return a response's text and calls in a form that clients do not change when they send it back.

    Clients drop reasoning, annotations and fields of the provider, trim the text, send it in parts, and write the JSON
    of arguments in another spelling; some replace the ids of calls.
    """
    text = "".join(_texts(message.get("content"))).strip()
    audio = message.get("audio")
    if not text:
        text = "".join(_texts(message.get("refusal"))).strip()
    if not text and isinstance(audio, dict):
        # In a history, only the id stands for a response in audio.
        text = "".join(_texts(audio.get("id")))
    return text, [_call(call) for call in _calls(message)]


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            text = part.get("text", part.get("refusal")) if isinstance(part, dict) else None
            if isinstance(text, str):
                yield text


def _calls(message: JsonObject) -> list[JsonObject]:
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        return [call for call in calls if isinstance(call, dict)]
    legacy = message.get("function_call")
    return [{"function": legacy}] if isinstance(legacy, dict) else []


def _call(call: JsonObject) -> list[Any]:
    body = call.get("function", call.get("custom"))
    if not isinstance(body, dict):
        return [None, None]
    arguments = body.get("arguments", body.get("input"))
    if isinstance(arguments, str) and (value := loads(arguments)) is not NOT_JSON:
        arguments = value
    return [body.get("name"), arguments]
