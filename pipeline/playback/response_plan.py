"""Plans the response of a recorded exchange when it is played again: which bytes, at what time, and how it ends.

The client decides on the form: a stream is made from a whole response if the request asks for a stream, and the other
way round. Times are microseconds since the request, as recorded. `server` has the sockets and the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..apis.base import TEXT_KINDS
from ..apis.registry import api_of
from ..apis.rows import ExchangeRow
from ..wire.base64_payloads import body_data
from ..wire.json_text import JsonObject, dumps, loads

JSON = "application/json"
#: Outcomes of responses that broke off.
CUT = frozenset(("client_aborted", "upstream_aborted", "unreachable", "recorder_stopped"))
# Headers that describe how a body is sent; the server writes its own.
_FRAMING = frozenset(("connection", "content-encoding", "content-length", "date", "transfer-encoding"))
# The status of a response that was a stream with an error inside, if it is requested without streaming.
_STATUS_OF_ERROR = 500


@dataclass(frozen=True)
class ResponsePlan:
    """A response to be sent; `status` is None where the connection broke before there was one."""

    status: int | None
    headers: tuple[tuple[str, str], ...]
    head_us: int
    #: When each part of the body is sent.
    parts: tuple[tuple[int, bytes], ...]
    ended_us: int
    #: The parts are events, sent one by one.
    streamed: bool
    #: The connection breaks before HTTP's end of the body.
    cut: bool


def plan_response(row: ExchangeRow, *, asks_stream: bool, asks_usage: bool) -> ResponsePlan:
    """Plan the response of the exchange in this row of `exchanges`, streamed or whole as it is requested."""
    as_recorded = asks_stream == bool(row["stream"])
    streamed = bool(row["streamed"]) if as_recorded else asks_stream
    if row["status_code"] is None:
        return _plan(row, None, "", [], cut=True)
    if row["outcome"] in ("http_error", "invalid"):
        return _plan(row, row["status_code"], "", [(_end(row), _other_body(row))])
    api = api_of(row)
    completion, error = api.rebuild_response(row), _error(row)
    cut = row["outcome"] in CUT
    if streamed and row["streamed"]:
        events = _recorded_events(row, completion, error)
        return _plan(row, row["status_code"], api.stream_format.content_type, events, cut=cut)
    if streamed and completion is not None:
        events = [(_end(row), event) for event in api.whole_as_events(completion, asks_usage=asks_usage)]
        return _plan(row, row["status_code"], api.stream_format.content_type, events, cut=cut)
    if cut:
        # A whole response has no bytes until it has all of them.
        return _plan(row, row["status_code"], JSON, [(_end(row), _other_body(row))] if as_recorded else [], cut=True)
    if row["streamed"] and error is not None:
        return _plan(row, _STATUS_OF_ERROR, JSON, [(_end(row), _other_body(row))])
    body = _other_body(row) if completion is None else dumps(completion).encode()
    return _plan(row, row["status_code"], JSON, [(_end(row), body)])


def _plan(
    row: ExchangeRow, status: int | None, content_type: str, parts: list[tuple[int, bytes]], *, cut: bool = False
) -> ResponsePlan:
    """Make the plan, with the recorded headers; `content_type` replaces the recorded one where that differs."""
    headers = [(header["name"], header["value"]) for header in row["response_headers"] or ()]
    recorded = next((value for name, value in headers if name == "content-type"), "")
    if content_type and not recorded.lower().startswith(content_type):
        headers = [(name, value) for name, value in headers if name != "content-type"]
        headers.append(("content-type", content_type))
    return ResponsePlan(
        status,
        tuple((name, value) for name, value in headers if name not in _FRAMING),
        row["response_headers_us"] or 0,
        tuple(parts),
        _end(row),
        content_type == api_of(row).stream_format.content_type,
        cut,
    )


def _recorded_events(row: ExchangeRow, completion: JsonObject | None, error: Any) -> list[tuple[int, bytes]]:
    """Return as many events as were recorded, each with its time."""
    api = api_of(row)
    offsets, sizes = row["event_offsets_us"] or [], row["event_sizes"] or []
    if completion is None and error is None:
        text = _other_body(row)
        return [(row["first_byte_us"] or _end(row), text)] if text else []
    # An error beside choices is a field of their chunk.
    is_apart = error is not None and (completion is None or completion.get("error") is None)
    done = api.end_marker is not None and _ended_with_marker(
        row["outcome"], sizes, is_apart=is_apart, chunks=int(completion is not None)
    )
    chunk_count = max(len(offsets) - done - is_apart, 0)
    usage_apart = row["include_usage"] is True
    events = (
        []
        if completion is None
        else api.stream_events(completion, sizes[:chunk_count], _kinds(row), usage_apart=usage_apart)
    )
    events += [api.error_event(error)] * (len(offsets) - done - len(events) if is_apart else 0)
    return list(zip(offsets, [*events, *([api.end_event()] if done else [])], strict=False))


def _ended_with_marker(outcome: str, sizes: list[int], *, is_apart: bool, chunks: int) -> bool:
    """Whether the last event probably was the end marker: it brings no text, and comes after the end."""
    if outcome not in ("complete", "stream_error"):
        return False
    after_end = 1 + is_apart
    return len(sizes) >= chunks + after_end and not any(sizes[-after_end:])


def _kinds(row: ExchangeRow) -> list[str]:
    """Return the kinds of text in the order in which they came."""
    times = {
        "reasoning": row["first_reasoning_us"],
        "content": row["first_content_us"],
        "tool_call": row["first_tool_call_us"],
    }
    return sorted(TEXT_KINDS, key=lambda kind: (times[kind] is None, times[kind]))


def _error(row: ExchangeRow) -> Any:
    return None if row["error_raw"] is None else loads(row["error_raw"])


def _other_body(row: ExchangeRow) -> bytes:
    """Return the body of a response that is not a completion."""
    if row["error_raw"] is not None:
        return row["error_raw"].encode()
    return body_data(row["response_text"] or "")


def _end(row: ExchangeRow) -> int:
    return row["ended_us"] or 0
