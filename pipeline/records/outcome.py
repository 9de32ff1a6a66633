"""Decides how an exchange ended, from what was seen of both sides."""

from __future__ import annotations

from tapeline.addons.tapeline_recorder.journal_entries import Ending

from ..apis.base import ParsedResponse
from .captured import CapturedExchange


def judge(captured: CapturedExchange, response: ParsedResponse) -> tuple[str, str | None]:
    """Return the exchange's outcome, one of `schema.OUTCOMES`, and the reason as far as it is known."""
    status = captured.answer["status_code"] if captured.answer is not None else None
    ending: Ending = captured.ending if captured.ending is not None else {"how": "killed"}
    error = ending.get("error")
    if status is not None and not 200 <= status < 300:
        return "http_error", error
    if response.error is not None:
        # It counts more than how the connection ended: clients hang up when they read an error, and servers that
        # sent one close the connection.
        return "stream_error", error
    is_whole = response.done or response.finished or (response.completion is not None and not response.streamed)
    if ending["how"] != "response" and not is_whole:
        return _cut_by(ending, status), error
    if captured.response_skipped and not is_whole:
        return "truncated", error
    if response.completion is None:
        return "invalid", response.problems[0] if response.problems else "no chat completion in the body"
    return ("complete" if is_whole else "truncated"), error


def _cut_by(ending: Ending, status: int | None) -> str:
    """Return the outcome of an exchange that was cut off: mitmproxy's connection states show which side did it."""
    if ending["how"] in ("killed", "stopped"):
        return "recorder_stopped"
    if status is None and not ending["server_reached"]:
        return "unreachable" if ending["client_connected"] else "client_aborted"
    if not ending["client_connected"] or _is_reset_by_client(ending["error"] or ""):
        return "client_aborted"
    return "upstream_aborted"


def _is_reset_by_client(error: str) -> bool:
    """Whether the client reset the HTTP/2 stream: both connections stay open then, so only the error shows it.

    With `proxy.fixes` the error names the side. mitmproxy alone writes "by client" for either side; of the error
    codes, CANCEL (RFC 9113, section 7) is the one that clients send.
    """
    return "reset by the client" in error or "reset by client (CANCEL)" in error


def cuts_by_limit(captured: CapturedExchange) -> list[str]:
    """Describe which parts of the bodies were not kept because of the limit."""
    parts = (
        ("request", captured.request, captured.request_skipped),
        ("answer", captured.response, captured.response_skipped),
    )
    return [
        f"{name} truncated by limit: its first {sum(len(data) for _, data in chunks):,} bytes are kept"
        for name, chunks, skipped in parts
        if skipped
    ]
