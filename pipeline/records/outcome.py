"""How an exchange ended, from what both sides were seen to do."""

from __future__ import annotations

from ..apis.base import ParsedResponse
from ..wire.json_text import JsonObject
from .captured import CapturedExchange


def judge(captured: CapturedExchange, answer: ParsedResponse) -> tuple[str, str | None]:
    """The exchange's outcome (see `schema.OUTCOMES`) and what is known of why."""
    status = (captured.answer or {}).get("status_code")
    ending = captured.ending or {"how": "killed"}
    cut = ending["how"] != "response"
    error = ending.get("error")
    if status is not None and not 200 <= status < 300:
        return "http_error", error
    if answer.error is not None:
        # Clients hang up when they read an error, and so do servers that sent one.
        return "stream_error", error
    whole = answer.done or answer.finished or (answer.completion is not None and not answer.streamed)
    if cut and not whole:
        return _cut_by(ending, status), error
    if captured.response_skipped and not whole:
        return "truncated", error
    if answer.completion is None:
        return "invalid", answer.problems[0] if answer.problems else "no chat completion in the body"
    return ("complete" if whole else "truncated"), error


def _cut_by(ending: JsonObject, status: int | None) -> str:
    """Who ended an exchange before its end: mitmproxy's connection states say it, where they can."""
    if ending["how"] in ("killed", "stopped"):
        return "recorder_stopped"
    if status is None and not ending["server_reached"]:
        return "unreachable" if ending["client_connected"] else "client_aborted"
    if not ending["client_connected"] or _is_reset_by_client(ending["error"] or ""):
        return "client_aborted"
    return "upstream_aborted"


def _is_reset_by_client(error: str) -> bool:
    """A reset HTTP/2 stream leaves both connections open, and the error alone says who reset it.

    `mends` names the side. mitmproxy by itself says "by client" of both; CANCEL (RFC 9113, section 7) is what
    clients send.
    """
    return "reset by the client" in error or "reset by client (CANCEL)" in error


def cuts_by_limit(captured: CapturedExchange) -> list[str]:
    """What of the bodies was not kept, though it passed."""
    parts = (
        ("request", captured.request, captured.request_skipped),
        ("answer", captured.response, captured.response_skipped),
    )
    return [
        f"{name} truncated by limit: its first {sum(len(data) for _, data in chunks):,} bytes are kept"
        for name, chunks, skipped in parts
        if skipped
    ]
