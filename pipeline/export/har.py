"""An HTTP Archive (HAR 1.2), which the developer tools of browsers open.

http://www.softwareishard.com/blog/har-12-spec/

The archive holds only what was recorded: allow-listed headers, measured times, and -1 for unknown values. Bodies are
written again from their JSON; a stream becomes the reassembled response, because its bytes are not kept. Fields with
a leading underscore are extensions, as the specification demands; `importing.har` reads Tapeline's own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from datetime import timedelta
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qsl

from ..apis.providers import DEFAULT_PORTS
from ..apis.rows import Header, WarehouseRow
from ..reports.render import json_text
from ..wire.json_text import JsonObject, dumps, loads
from .selection import Count, Exchange

UNKNOWN = -1
JSON_TYPE = "application/json"
UNKNOWN_TYPE = "x-unknown"
# The prefix by which `wire.base64_payloads.body_text` marks a body that is not UTF-8.
_BASE64 = "base64:"

NO_CONTENT = "The recording keeps no content, so the texts are missing."
WRITTEN_AGAIN = "The same JSON, written again."
REASSEMBLED = "An event stream, reassembled: its bytes are not kept."
REDACTED = "Names replace {:,} credentials."


def archive_parts(exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """Yield the archive's text, entry by entry; no exchange is left out."""
    creator = json_text({"name": "Tapeline", "version": version("tapeline")})
    yield f'{{"log":{{"version":"1.2","creator":{creator},"entries":['
    for exchange in exchanges:
        yield ",\n" if count.exported else "\n"
        count.exported += 1
        yield json_text(_entry(exchange))
    yield "\n]}}\n"


def _entry(exchange: Exchange) -> JsonObject:
    row = exchange.row
    timings, total_us, before_us = _timings(row)
    entry = {
        "startedDateTime": (row["started_at"] - timedelta(microseconds=before_us)).isoformat().replace("+00:00", "Z"),
        "time": total_us / 1000,
        "request": _request(exchange),
        "response": _response(exchange),
        "cache": {},
        "timings": timings,
        "_resourceType": "fetch",
        "_exchangeId": row["exchange_id"],
        "_streamed": row["streamed"],
        "_outcome": row["outcome"],
    }
    return entry | ({"connection": row["client_connection_id"]} if row["client_connection_id"] else {})


def _request(exchange: Exchange) -> JsonObject:
    row = exchange.row
    request = {
        "method": "POST",
        "url": _url(row),
        "httpVersion": row["http_version"] or "",
        "cookies": [],
        "headers": row["request_headers"] or [],
        "queryString": [{"name": name, "value": value} for name, value in parse_qsl(row["path"].partition("?")[2])],
        "headersSize": UNKNOWN,
        "bodySize": _or_unknown(row["request_bytes"]),
    }
    text = exchange.request if isinstance(exchange.request, str | None) else dumps(exchange.request)
    if text is None and row["content_kept"]:
        return request
    body: JsonObject = {"mimeType": _header(row["request_headers"], "content-type") or JSON_TYPE}
    if text is not None:
        body["text"] = text
    comments = _comments(row, row["request_redactions"], WRITTEN_AGAIN if text is not exchange.request else None)
    return request | {"postData": body | comments}


def _response(exchange: Exchange) -> JsonObject:
    row = exchange.row
    response: JsonObject = {
        "status": row["status_code"] or 0,
        "statusText": "",
        "httpVersion": row["http_version"] or "",
        "cookies": [],
        "headers": row["response_headers"] or [],
        "content": _content(exchange),
        "redirectURL": "",
        "headersSize": UNKNOWN,
        "bodySize": _or_unknown(row["response_bytes"]),
    }
    if row["outcome"] != "complete" and (row["status_code"] is None or row["outcome_detail"]):
        response["_error"] = row["outcome_detail"] or row["outcome"]
    return response


def _content(exchange: Exchange) -> JsonObject:
    row, response = exchange.row, exchange.response
    media_type = _header(row["response_headers"], "content-type") or UNKNOWN_TYPE
    content: JsonObject = {"size": _or_unknown(row["response_bytes"]), "mimeType": media_type}
    comment = None
    if isinstance(response, str):
        content |= _encoded(response)
    elif response is not None:
        content |= {"mimeType": JSON_TYPE, "text": dumps(_with_error(row, response))}
        comment = REASSEMBLED if row["streamed"] else WRITTEN_AGAIN
    if _header(row["response_headers"], "content-encoding"):
        # HAR wants the size of the decoded body, which is not recorded.
        content["size"] = len(content.get("text", "").encode())
    return content | _comments(row, row["response_redactions"], comment)


def _with_error(row: WarehouseRow, response: Any) -> Any:
    """Add the error event of a stream to the response, in the place where a whole response has its error."""
    if row["error_raw"] is None or not isinstance(response, dict) or "choices" not in response:
        return response
    error = loads(row["error_raw"])
    return response | {"error": error["error"] if isinstance(error, dict) and "error" in error else error}


def _encoded(text: str) -> JsonObject:
    if text.startswith(_BASE64):
        try:
            base64.b64decode(text.removeprefix(_BASE64), validate=True)
        except binascii.Error:
            return {"text": text}
        return {"text": text.removeprefix(_BASE64), "encoding": "base64"}
    return {"text": text}


def _comments(row: WarehouseRow, redactions: int | None, comment: str | None) -> JsonObject:
    comments = [NO_CONTENT] if not row["content_kept"] else [comment] if comment else []
    if redactions:
        comments.append(REDACTED.format(redactions))
    return {"comment": " ".join(comments)} if comments else {}


def _timings(row: WarehouseRow) -> tuple[JsonObject, int, int]:
    """Return the phases in milliseconds, and in microseconds their sum and the time before the request."""
    sent, headers, ended = row["request_sent_us"], row["response_headers_us"], row["ended_us"]
    # Without a response, all the time after the request was waiting.
    marks = (sent, headers, ended) if headers is not None else (sent, ended, None)
    phases: dict[str, int | None] = {}
    reached = 0
    for name, mark in zip(("send", "wait", "receive"), marks, strict=True):
        # A server may respond before it has the whole request.
        phases[name] = None if mark is None else max(mark - reached, 0)
        reached = max(reached, mark or 0)
    steps = [step for step in (row["connect_us"], row["tls_us"]) if step is not None]
    before = connecting = sum(steps)
    waited = phases["wait"] or 0
    # After CONNECT the proxy connects before it reads the request; otherwise it connects once the request has come.
    if (row["mode"] == "reverse" or row["scheme"] == "http") and connecting <= waited:
        before = 0
        phases["wait"] = waited - connecting if phases["wait"] is not None else None
    phases |= {"blocked": None, "dns": None, "connect": connecting if steps else None, "ssl": row["tls_us"]}
    return {name: _milliseconds(phase) for name, phase in phases.items()}, reached + before, before


def _milliseconds(microseconds: int | None) -> float:
    return UNKNOWN if microseconds is None else microseconds / 1000


def _or_unknown(value: int | None) -> int:
    return UNKNOWN if value is None else value


def _url(row: WarehouseRow) -> str:
    host = f"[{row['host']}]" if ":" in row["host"] else row["host"]
    port = "" if DEFAULT_PORTS.get(row["scheme"]) == row["port"] else f":{row['port']}"
    return f"{row['scheme']}://{host}{port}{row['path']}"


def _header(headers: list[Header] | None, name: str) -> str:
    return ", ".join(header["value"] for header in headers or () if header["name"] == name)
