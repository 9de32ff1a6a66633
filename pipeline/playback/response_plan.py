"""Plans how a recorded exchange is answered again: which bytes, when, and what end.

The form is the one that the client asks for now: a stream is made from a whole answer where it is asked for, and the
other way round. Microseconds count from the request, as recorded. Sockets and clocks are `serving`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..apis.base import TEXT_KINDS
from ..apis.registry import api_of
from ..wire.base64_payloads import body_data
from ..wire.json_text import JsonObject, dumps, loads

JSON = "application/json"
#: Outcomes of answers that broke off.
CUT = frozenset(("client_aborted", "upstream_aborted", "unreachable", "recorder_stopped"))
# How a body was packed on its way, which is the server's to say anew.
_FRAMING = frozenset(("connection", "content-encoding", "content-length", "date", "transfer-encoding"))
# What an error inside a stream is answered with where no stream is asked for.
_STATUS_OF_ERROR = 500


@dataclass(frozen=True)
class ResponsePlan:
    """An answer on its way; `status` is None where the connection broke before there was one."""

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


def plan_response(row: JsonObject, *, asks_stream: bool, asks_usage: bool) -> ResponsePlan:
    """How the exchange of this row of `exchanges` is answered, in the form that is asked for."""
    as_recorded = asks_stream == bool(row["stream"])
    streamed = bool(row["streamed"]) if as_recorded else asks_stream
    if row["status_code"] is None:
        return _plan(row, None, "", [], cut=True)
    if row["outcome"] in ("http_error", "invalid"):
        return _plan(row, row["status_code"], "", [(_end(row), _told(row))])
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
        # Of a whole answer nothing is there until all is.
        return _plan(row, row["status_code"], JSON, [(_end(row), _told(row))] if as_recorded else [], cut=True)
    if row["streamed"] and error is not None:
        return _plan(row, _STATUS_OF_ERROR, JSON, [(_end(row), _told(row))])
    body = _told(row) if completion is None else dumps(completion).encode()
    return _plan(row, row["status_code"], JSON, [(_end(row), body)])


def _plan(
    row: JsonObject, status: int | None, content_type: str, parts: list[tuple[int, bytes]], *, cut: bool = False
) -> ResponsePlan:
    """The reply with the headers that were recorded; a content type takes the recorded one's place if it differs."""
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


def _recorded_events(row: JsonObject, completion: JsonObject | None, error: Any) -> list[tuple[int, bytes]]:
    """As many events as were recorded, each at its time."""
    api = api_of(row)
    offsets, sizes = row["event_offsets_us"] or [], row["event_sizes"] or []
    if completion is None and error is None:
        text = _told(row)
        return [(row["first_byte_us"] or _end(row), text)] if text else []
    # An error beside choices is a field of their chunk.
    is_apart = error is not None and (completion is None or completion.get("error") is None)
    done = api.end_marker is not None and _said_done(
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


def _said_done(outcome: str, sizes: list[int], *, is_apart: bool, chunks: int) -> bool:
    """Whether the last event probably was the end marker: it brings no text, and comes after the end."""
    if outcome not in ("complete", "stream_error"):
        return False
    behind = 1 + is_apart
    return len(sizes) >= chunks + behind and not any(sizes[-behind:])


def _kinds(row: JsonObject) -> list[str]:
    """The kinds of text in the order in which they came."""
    times = {kind: row[f"first_{kind}_us"] for kind in TEXT_KINDS}
    return sorted(TEXT_KINDS, key=lambda kind: (times[kind] is None, times[kind]))


def _error(row: JsonObject) -> Any:
    return None if row["error_raw"] is None else loads(row["error_raw"])


def _told(row: JsonObject) -> bytes:
    """A body that is no completion."""
    if row["error_raw"] is not None:
        return bytes(row["error_raw"].encode())
    return body_data(row["response_text"] or "")


def _end(row: JsonObject) -> int:
    return int(row["ended_us"] or 0)
