"""Makes exchanges as a journal holds them, without a recorder."""

from __future__ import annotations

import json
from typing import Any

from tapeline.pipeline.apis.base import Chunk
from tapeline.pipeline.records.captured import CapturedExchange
from tapeline.pipeline.records.record import make_record
from tapeline.pipeline.wire.redaction import Redactor

EVENT_STREAM = [["content-type", "text/event-stream"]]
JSON_HEADERS = [["content-type", "application/json"]]
STARTED_AT_US = 1_700_000_000_123_456

# How an exchange can end, as the recorder writes it.
IN_ORDER: dict[str, Any] = {"ended_us": 900, "request_sent_us": 5, "response_headers_us": 50, "how": "response"}
STOPPED: dict[str, Any] = {"ended_us": 900, "how": "stopped"}


def broken_off(
    *, client_connected: bool = True, server_connected: bool = False, server_reached: bool = True, error: str = "reset"
) -> dict[str, Any]:
    """An ending by an error, with the states of the connections."""
    return {
        "ended_us": 900,
        "how": "error",
        "error": error,
        "client_connected": client_connected,
        "server_connected": server_connected,
        "server_reached": server_reached,
    }


def captured(
    *response: bytes,
    status: int | None = 200,
    headers: list[list[str]] | None = None,
    ending: dict[str, Any] | None = IN_ORDER,
    request: bytes = b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}',
    request_headers: list[list[str]] | None = None,
    answer: dict[str, Any] | None = None,
    **head: Any,
) -> CapturedExchange:
    """One exchange; without a status, one that was never answered. Chunks come 10 us apart, from 100 on."""
    chunks: list[Chunk] = [(100 + 10 * number, data) for number, data in enumerate(response)]
    about = {
        "exchange_id": "e1",
        "run": "test",
        "started_at_us": STARTED_AT_US,
        "mode": "reverse",
        "scheme": "https",
        "host": "api.openai.com",
        "port": 443,
        "path": "/v1/chat/completions",
        "http_version": "HTTP/1.1",
        "headers": [["user-agent", "test/1"]] if request_headers is None else request_headers,
        "api_key_id": "key-1",
    }
    answered = None
    if status is not None:
        answered = {
            "status_code": status,
            "http_version": "HTTP/1.1",
            "headers": EVENT_STREAM if headers is None else headers,
            "request_sent_us": 5,
            "response_headers_us": 50,
            **(answer or {}),
        }
    return CapturedExchange(
        exchange_id="e1",
        head=json.loads(json.dumps(about | head)),
        answer=json.loads(json.dumps(answered)),
        ending=json.loads(json.dumps(ending)),
        request=[(1, request)],
        response=chunks,
    )


def row_of(exchange: CapturedExchange, redactor: Redactor | None = None) -> Any:
    """Return the row that an exchange becomes; not typed, so that tests can read columns by names they compute."""
    return make_record(exchange, "r1", redactor).row
