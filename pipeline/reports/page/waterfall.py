"""A call's times as a waterfall: connecting, request, wait, tokens and rest, one below the other."""

from __future__ import annotations

from typing import Any

from ...wire.json_text import JsonObject
from ...wire.terminal_text import visible

#: Stages in their order: name, the column where it starts, the column where it ends.
STAGES = (
    ("request sent", None, "request_sent_us"),
    ("waiting for headers", "request_sent_us", "response_headers_us"),
    ("waiting for the first token", "response_headers_us", "first_token_us"),
    ("tokens", "first_token_us", "last_token_us"),
    ("until the end", "last_token_us", "ended_us"),
)
#: Stages of which only the length is known are drawn from the start.
LENGTHS = (("connecting", "connect_us"), ("TLS handshake", "tls_us"))
COLUMNS = (
    "exchange_id", "started_at", "model", "response_model", "provider", "outcome", "choices", "prompt_tokens",
    "completion_tokens", "event_offsets_us", "first_event_us", *dict.fromkeys(time for _, _, time in STAGES),
    *(length for _, length in LENGTHS),
)  # fmt: skip
# Ticks closer than a pixel cannot be told apart.
_MOST_TICKS = 400


def waterfall(row: JsonObject) -> dict[str, Any]:
    """Return what the page draws of an exchange, a row of `COLUMNS`: label, stages and events, in milliseconds."""
    stages = [
        {"stage": name, "from": 0.0, "to": _milliseconds(row[length])}
        for name, length in LENGTHS
        if row[length] is not None
    ]
    begin = 0
    for name, starts, ends in STAGES:
        begin = row[starts] if starts and row[starts] is not None else begin
        if row[ends] is not None:
            stages.append({"stage": name, "from": _milliseconds(begin), "to": _milliseconds(row[ends])})
            begin = row[ends]
    offsets = row["event_offsets_us"] or []
    every = -(-len(offsets) // _MOST_TICKS)
    return {
        "id": row["exchange_id"],
        "label": _label(row),
        "stages": stages,
        "events": [_milliseconds(offset) for offset in offsets[:: every or 1]],
        "event_count": len(offsets),
        "every": every,
    }


def _label(row: JsonObject) -> str:
    """Return a label that tells the call from others in a list."""
    reasons = dict.fromkeys(choice["finish_reason"] or "–" for choice in row["choices"] or [])
    ended = ", ".join(reasons) if row["outcome"] == "complete" else row["outcome"]
    took = "–" if row["ended_us"] is None else f"{row['ended_us'] / 1_000_000:,.2f} s"
    model = row["model"] or row["response_model"] or "–"
    return visible(f"{row['started_at']:%Y-%m-%d %H:%M:%S} · {model} · {took} · {ended} · {row['exchange_id'][-8:]}")


def _milliseconds(microseconds: int) -> float:
    return microseconds / 1000
