"""Reads HTTP archives (HAR): those of browsers' developer tools, of other proxies, and of `tapeline export`.

An archive holds bodies as text, without their content coding, and the durations of phases. Browsers start with phases
before the request is sent; here an exchange starts when its request does.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from tapeline.addons.tapeline_recorder.journal_entries import Ending, StageTimes

from ..apis.providers import DEFAULT_PORTS
from ..errors import DataError
from ..wire.event_stream import CONTENT_TYPE as EVENT_STREAM
from ..wire.json_text import JsonObject, content_hash, loads, storable
from .imported_exchange import (
    NO_BODY,
    NOT_CHAT,
    UNREADABLE,
    Headers,
    ImportedExchange,
    ReadReport,
    SkippedEntry,
    id_of,
    is_chat,
)

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
#: A browser's name for an HTTP version -> mitmproxy's.
_VERSIONS = {"H2": "HTTP/2.0", "HTTP/2": "HTTP/2.0", "H3": "HTTP/3", "HTTP/3.0": "HTTP/3"}
_BEFORE_SENDING = ("blocked", "dns", "connect")
# No exchange takes longer than this or starts later: the end of one that did could not be written as a date.
_MOST_MILLISECONDS = 10**9
_MOST_SECONDS = 10**11
#: The outcomes in `_outcome` that the response does not show -> the ending that the recorder writes for them.
_ENDINGS: dict[str, Ending] = {
    "client_aborted": {"how": "error", "client_connected": False, "server_connected": True, "server_reached": True},
    "upstream_aborted": {"how": "error", "client_connected": True, "server_connected": False, "server_reached": True},
    "unreachable": {"how": "error", "client_connected": True, "server_connected": False, "server_reached": False},
    "recorder_stopped": {"how": "stopped"},
}
# mitmproxy reads text without a charset as Latin-1, but event streams are always UTF-8 and rarely say so.
_READS_AS_LATIN_1 = "mitmproxy"
# Chromium's `_error` for a request that the page cancelled.
_CANCELLED = "ERR_ABORTED"


def read(data: bytes, report: ReadReport) -> Iterator[ImportedExchange]:
    """Yield the chat completions among an archive's entries, in order; everything else goes to `report`.

    Raises DataError for data that is not an archive.
    """
    archive = loads(data)
    log = archive.get("log") if isinstance(archive, dict) else None
    entries = log.get("entries") if isinstance(log, dict) else None
    if not isinstance(entries, list):
        raise DataError("it looks like JSON, but is not an HTTP archive (HAR)")
    creator = log.get("creator") if isinstance(log, dict) else None
    if isinstance(creator, dict) and creator.get("name") == _READS_AS_LATIN_1:
        entries = list(map(_with_utf8, entries))
    return _exchanges(entries, report)


def _exchanges(entries: list[Any], report: ReadReport) -> Iterator[ImportedExchange]:
    repeated: Counter[str] = Counter()
    for entry in entries:
        try:
            yield _exchange(_object(entry), repeated)
        except SkippedEntry as reason:
            report.skipped[str(reason)] += 1
        except (KeyError, OverflowError, TypeError, ValueError):
            report.skipped[UNREADABLE] += 1


def _exchange(entry: JsonObject, repeated: Counter[str]) -> ImportedExchange:
    request, response = _object(entry["request"]), _object(entry.get("response"))
    url = urlsplit(_text(request["url"]))
    target = f"{url.path}?{url.query}" if url.query else url.path
    if not url.hostname or not is_chat(_text(request["method"]), target):
        raise SkippedEntry(NOT_CHAT)
    timings = _object(entry.get("timings"))
    phases = {name: _milliseconds(timings.get(name)) for name in (*_BEFORE_SENDING, "ssl", "send", "wait", "receive")}
    before_us = sum(_us(phases[name]) or 0 for name in _BEFORE_SENDING)
    started_at_us = _started_at_us(_text(entry["startedDateTime"])) + before_us
    status = _integer(response.get("status")) or None
    outcome = _text(entry.get("_outcome") or "")
    return ImportedExchange(
        exchange_id=_id(entry, started_at_us, repeated),
        started_at_us=started_at_us,
        client_connection_id=storable(entry["connection"]) if isinstance(entry.get("connection"), str) else None,
        mode=None,
        scheme=url.scheme,
        host=storable(url.hostname),
        port=url.port or DEFAULT_PORTS[url.scheme],
        http_version=_version(request),
        target=target,
        request_headers=_headers(request),
        request=_request_body(request),
        status=status,
        response_headers=_headers(response),
        response=_response_body(response, status),
        times=_times(phases, status),
        ending=_ending(entry, response, phases, status, outcome),
        note={
            "decoded": True,
            "stream": ("whole" if outcome == "complete" else "cut") if entry.get("_streamed") is True else None,
            "bytes": {"request_bytes": _size(request), "response_bytes": _size(response)},
        },
    )


def _id(entry: JsonObject, started_at_us: int, repeated: Counter[str]) -> str:
    """Return the exchange's id if Tapeline wrote the archive; else make one from the entry's content."""
    own = entry.get("_exchangeId")
    if isinstance(own, str) and _UUID7.fullmatch(own):
        return own
    key = content_hash([entry.get(name) for name in ("startedDateTime", "request", "response")])
    repeated[key] += 1
    return id_of(started_at_us, f"HAR {key} {repeated[key]}")


def _request_body(request: JsonObject) -> bytes:
    text = _object(request.get("postData")).get("text")
    if not isinstance(text, str):
        raise SkippedEntry(NO_BODY)
    return storable(text).encode()


def _response_body(response: JsonObject, status: int | None) -> bytes:
    content = _object(response.get("content"))
    text = content.get("text")
    if isinstance(text, str):
        if content.get("encoding") == "base64":
            return base64.b64decode(text, validate=True)
        return storable(text).encode()
    if status is not None and 200 <= status < 300 and content.get("size") != 0:
        raise SkippedEntry(NO_BODY)
    return b""


def _with_utf8(entry: Any) -> Any:
    """Restore the text of an event stream in an entry from a program that read it as Latin-1."""
    try:
        content = entry["response"]["content"]
        if content["mimeType"].strip().lower() == EVENT_STREAM:  # so no charset is named
            content["text"] = content["text"].encode("latin-1").decode("utf-8")
    except (AttributeError, KeyError, TypeError, UnicodeError):
        pass  # reading the entry will report what is wrong with it
    return entry


def _times(phases: dict[str, Decimal | None], status: int | None) -> StageTimes:
    sent = _us(phases["send"])
    waited, ssl = _us(phases["wait"]), _us(phases["ssl"])
    connecting = _us(phases["connect"])
    times: StageTimes = {"request_sent_us": sent}
    if status is not None:
        times["response_headers_us"] = None if sent is None or waited is None else sent + waited
    if connecting is not None:
        # The phase `connect` includes the TLS handshake.
        times["connect_us"] = max(connecting - (ssl or 0), 0)
        times["tls_us"] = ssl
    return times


def _ending(
    entry: JsonObject, response: JsonObject, phases: dict[str, Decimal | None], status: int | None, outcome: str
) -> Ending:
    durations = [_us(phases[name]) for name in ("send", "wait", "receive")]
    ended_us = None if status is not None and None in durations else sum(duration or 0 for duration in durations)
    error = response.get("_error")
    error = storable(error) if isinstance(error, str) and error else None
    ending: Ending
    if outcome in _ENDINGS:
        ending = _ENDINGS[outcome]
    elif status is not None and (error is None or outcome):
        ending = {"how": "response"}
    elif error is not None and _CANCELLED in error:
        ending = _ENDINGS["client_aborted"]
    else:
        ending = _ENDINGS["unreachable" if phases["send"] is None else "upstream_aborted"]
    return {**ending, "error": None if error == outcome else error, "ended_us": ended_us}


def _headers(message: JsonObject) -> Headers:
    headers = [
        (storable(_text(header["name"])), storable(_text(header["value"])))
        for header in map(_object, message.get("headers") or ())
    ]
    # Chromium lists HTTP/2's pseudo-headers among the others.
    return [(name, value) for name, value in headers if not name.startswith(":")]


def _version(message: JsonObject) -> str | None:
    version = storable(_text(message.get("httpVersion") or "")).upper()
    return _VERSIONS.get(version, version) or None


def _size(message: JsonObject) -> int | None:
    size = _integer(message.get("bodySize"))
    return size if size is not None and size >= 0 else None


def _started_at_us(text: str) -> int:
    at = datetime.fromisoformat(text)
    seconds = at.timestamp()
    if at.tzinfo is None or not 0 <= seconds < _MOST_SECONDS:
        raise ValueError(text)
    return round(seconds * 1_000_000)


def _milliseconds(value: Any) -> Decimal | None:
    """Read a duration; None for -1, which stands for an unknown duration or a phase that did not take place."""
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return Decimal(value) if is_number and 0 <= value < _MOST_MILLISECONDS else None


def _us(milliseconds: Decimal | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * 1000)


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and -1 <= value < 2**63 else None


def _object(value: Any) -> JsonObject:
    if not isinstance(value, dict | None):
        raise TypeError("an object was expected")
    return value or {}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text was expected")
    return value
