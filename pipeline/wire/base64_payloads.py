"""Replaces large base64 payloads in messages by references, so that each is stored once, and puts them back.

An image or a recording travels inside a message as base64 text, again in every request of a conversation. A reference
has the hash of the text. `restore(extract(x)) == x` for every JSON value, also for one that looks like a reference.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

# A JSON object with this member alone is a reference; the member's value is the payload's id.
REFERENCE = "$tapeline_payload"
# A user's object that has either of these two names among its members is wrapped into an object with this member.
LITERAL = "$tapeline_literal"

_REFERENCED = re.compile(rf'"{re.escape(REFERENCE)}":"([0-9a-f]+)"')

# A shorter text needs less space than a reference and a row.
MIN_CHARACTERS = 1024
# "data:image/png;base64," (RFC 2397).
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.ASCII)
# Line ends are allowed, because encoders insert them; blanks are not, because they separate words.
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\r\n]+={0,2}[\r\n]*", re.ASCII)
# Fields with the payload's type: OpenAI's `input_audio.format`, and its names elsewhere.
_TYPE_FIELDS = ("media_type", "mime_type", "mimeType", "format")
# Fields with text that people and models wrote: it stays, even if it could be base64.
_TEXT_FIELDS = ("content", "text", "arguments", "refusal", "reasoning_content")

# Precedes the base64 text of a body that is not UTF-8.
_BASE64_MARK = "base64:"


@dataclass(frozen=True)
class Payload:
    """One base64 text, with the prefix of a data URL if it has one."""

    payload_id: str
    text: str
    media_type: str | None
    #: The number of bytes that the base64 text encodes.
    size: int


def extract(value: Any) -> tuple[Any, list[Payload]]:
    """Return the value with references in place of its payloads, and the payloads."""
    payloads: list[Payload] = []
    return _extract(value, None, payloads), payloads


def restore(value: Any, text_of: Callable[[str], str | None]) -> Any:
    """Return the value that `extract` was given; `text_of` returns a payload's text by its id, None if it is missing.

    A reference to a missing payload stays.
    """
    if isinstance(value, list):
        return [restore(member, text_of) for member in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {REFERENCE}:
        text = text_of(value[REFERENCE])
        return value if text is None else text
    if value.keys() == {LITERAL}:
        value = value[LITERAL]
    return {name: restore(member, text_of) for name, member in value.items()}


def payload_ids(json: str) -> set[str]:
    """Return the ids of the payloads to which the JSON of an extracted value refers."""
    return set(_REFERENCED.findall(json))


def is_payload(text: str) -> bool:
    """Whether a text is a payload."""
    return _payload(text, None) is not None


def _extract(value: Any, media_type: str | None, payloads: list[Payload]) -> Any:
    if isinstance(value, str):
        payload = _payload(value, media_type)
        if payload is None:
            return value
        payloads.append(payload)
        return {REFERENCE: payload.payload_id}
    if isinstance(value, list):
        return [_extract(member, None, payloads) for member in value]
    if not isinstance(value, dict):
        return value
    media_type = next((value[name] for name in _TYPE_FIELDS if isinstance(value.get(name), str)), None)
    extracted = {
        name: member if name in _TEXT_FIELDS and isinstance(member, str) else _extract(member, media_type, payloads)
        for name, member in value.items()
    }
    return {LITERAL: extracted} if value.keys() & {REFERENCE, LITERAL} else extracted


def _payload(text: str, media_type: str | None) -> Payload | None:
    if len(text) < MIN_CHARACTERS:
        return None
    prefix = _DATA_URL.match(text)
    start = prefix.end() if prefix else 0
    if not _BASE64.fullmatch(text, start):
        return None
    digits = len(text) - start - text.count("\r") - text.count("\n") - text.count("=", -4)
    return Payload(
        sha256(text.encode("ascii")).hexdigest()[:32],
        text,
        prefix.group(1) if prefix else media_type,
        digits * 6 // 8,
    )


def body_text(data: bytes) -> str:
    """Return a body as text that can be stored: bytes that are not UTF-8 as marked base64."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _BASE64_MARK + base64.b64encode(data).decode("ascii")


def body_data(text: str) -> bytes:
    """Return the body that `body_text` was given."""
    if text.startswith(_BASE64_MARK):
        try:
            return base64.b64decode(text.removeprefix(_BASE64_MARK), validate=True)
        except ValueError:
            pass  # a text that begins with the mark by chance
    return text.encode()
