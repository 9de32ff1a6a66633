"""One exchange as a file has it, before anything of it is left out, masked or read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256

from tapeline.addons.tapeline_recorder.capture import uuid7

from ..apis.registry import is_recorded_path
from ..wire.json_text import JsonObject

Headers = list[tuple[str, str]]

_RANDOM_BYTES = 10

#: Why an entry of a file is left out, as it is told.
NO_CHAT = "no chat completions"
NO_BODY = "whose bodies are not in the file"
UNREADABLE = "that cannot be read"


class LeftOut(Exception):
    """An entry that is not taken in; its text is why."""


@dataclass(frozen=True)
class ImportedExchange:
    """An exchange. Times are microseconds from its start; what a file does not say is None, or not there."""

    exchange_id: str
    started_at_us: int
    #: As the journal's `head` has them: mode, client_connection_id, scheme, host, port, http_version.
    head: JsonObject
    #: Path and query.
    target: str
    request_headers: Headers
    request: bytes
    #: None if no answer came.
    status: int | None
    response_headers: Headers
    response: bytes
    #: request_sent_us, response_headers_us, connect_us, tls_us.
    times: JsonObject
    #: How it ended, as the recorder writes it.
    ending: JsonObject
    #: request_bytes, response_bytes, as they were on the wire.
    sizes: JsonObject
    #: The file has bodies without their content coding.
    is_decoded: bool = False
    #: The answer was a stream that has been put together: "whole" or "cut".
    stream: str | None = None


@dataclass
class Found:
    """What was found in a file beside what it holds."""

    left_out: Counter[str] = field(default_factory=Counter)
    #: What is wrong with the file behind what was read of it.
    damage: str | None = None


def is_chat(method: str, target: str) -> bool:
    """Whether a request is one that the recorder would record."""
    return method == "POST" and is_recorded_path(target)


def id_of(started_at_us: int, key: str) -> str:
    """The id of an exchange that has none: the same for the same key in every file."""
    return uuid7(max(started_at_us, 0) * 1000, int.from_bytes(sha256(key.encode()).digest()[:_RANDOM_BYTES]))


def microseconds(start: float, at: float | None) -> int | None:
    """From one time in seconds to another; None where it is not known, or lies before."""
    return None if at is None or at < start else round((at - start) * 1_000_000)
