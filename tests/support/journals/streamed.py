"""Streamed exchanges made up for a test: what came when, so that what is measured can be worked out by hand."""

from __future__ import annotations

import json
from typing import Any

from tests.support.journals.journals import MadeUp

EVENT_STREAM = "text/event-stream"


def streamed(
    *deltas: tuple[int, dict[str, Any]],
    finish_reason: str | None = "stop",
    reported_usage: dict[str, int] | None = None,
    **made_up: Any,
) -> MadeUp:
    """A stream whose deltas come at these microseconds from the start; usage, if any, comes with the last one."""
    last = len(deltas) - 1
    pieces = [(at, _event(delta, finish_reason if place == last else None)) for place, (at, delta) in enumerate(deltas)]
    if reported_usage is not None:
        pieces.append((deltas[last][0], _usage_event(reported_usage)))
    values: dict[str, Any] = {"content_type": EVENT_STREAM, "ended_us": deltas[last][0], "params": {"stream": True}}
    return MadeUp(pieces=pieces, answered_us=deltas[0][0], **values | made_up)


def said(*times_us: int, **made_up: Any) -> MadeUp:
    """A stream that says a word at each of these times."""
    return streamed(*((at, {"content": "word "}) for at in times_us), **made_up)


def _event(delta: dict[str, Any], finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def _usage_event(usage: dict[str, int]) -> bytes:
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
    return f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
