"""One exchange as a file holds it, before anything is left out or masked and before its bodies are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256

from tapeline.addons.tapeline_recorder.capture import uuid7
from tapeline.addons.tapeline_recorder.journal_entries import Ending, ImportNote, StageTimes

from ..apis.registry import is_recorded_path

Headers = list[tuple[str, str]]

_RANDOM_BYTES = 10

#: Why entries of a file are skipped, as the command prints it.
NOT_CHAT = "not a chat completion"
NO_BODY = "without its body"
UNREADABLE = "unreadable"


class SkippedEntry(Exception):
    """An entry that is not imported; the message is the reason."""


@dataclass(frozen=True)
class ImportedExchange:
    """An exchange. Times are microseconds from its start; a value that the file does not hold is None or left out."""

    exchange_id: str
    started_at_us: int
    client_connection_id: str | None
    #: mitmproxy's name for the proxy mode.
    mode: str | None
    scheme: str
    host: str
    port: int
    http_version: str | None
    #: Path and query.
    target: str
    request_headers: Headers
    request: bytes
    #: None if no response came.
    status: int | None
    response_headers: Headers
    response: bytes
    times: StageTimes
    ending: Ending
    note: ImportNote


@dataclass
class ReadReport:
    """What a file holds beside the exchanges that were read from it."""

    skipped: Counter[str] = field(default_factory=Counter)
    #: What is wrong with the file after the part that was read; None for an undamaged file.
    damage: str | None = None


def is_chat(method: str, target: str) -> bool:
    """Return whether the recorder would record a request with this method and target."""
    return method == "POST" and is_recorded_path(target)


def id_of(started_at_us: int, key: str) -> str:
    """Make an id for an exchange that has none: the same for the same key, in whichever file it appears."""
    return uuid7(max(started_at_us, 0) * 1000, int.from_bytes(sha256(key.encode()).digest()[:_RANDOM_BYTES]))


def microseconds(start: float, at: float | None) -> int | None:
    """Return the microseconds between two times in seconds; None if the later is unknown or before the start."""
    return None if at is None or at < start else round((at - start) * 1_000_000)
