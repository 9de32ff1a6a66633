"""Reads flow files of mitmproxy (`mitmdump -w`, or saved from its interfaces).

A flow holds whole bodies and the times at which they began and ended, but not the times of their chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.io import FlowReader

from tapeline.addons.tapeline_recorder.hooks import connecting_times, is_reached
from tapeline.addons.tapeline_recorder.journal_entries import Ending, StageTimes

from .imported_exchange import (
    NO_BODY,
    NOT_CHAT,
    UNREADABLE,
    ImportedExchange,
    ReadReport,
    SkippedEntry,
    id_of,
    is_chat,
    microseconds,
)

# mitmproxy's error message for a client that hung up. The recorder knows it from connection states, which files lack.
_CLIENT_LEFT = "client disconnected"


def read(path: Path, report: ReadReport) -> Iterator[ImportedExchange]:
    """Yield the chat completions among a file's flows, in order; everything else goes to `report`. Raises OSError."""
    counted_connections: set[str] = set()
    with path.open("rb") as file:
        flows = iter(FlowReader(file).stream())
        number = 0
        while True:
            try:
                flow = next(flows, None)
            except Exception as error:  # noqa: BLE001 - for damaged files the reader raises more than it documents
                report.damage = f"after {number:,} flows: {error}" if number else str(error)
                return
            if flow is None:
                return
            number += 1
            try:
                yield _exchange(flow, counted_connections)
            except SkippedEntry as reason:
                report.skipped[str(reason)] += 1
            except (AttributeError, OverflowError, TypeError, ValueError):
                report.skipped[UNREADABLE] += 1


def _exchange(flow: object, counted_connections: set[str]) -> ImportedExchange:
    if not isinstance(flow, http.HTTPFlow) or not is_chat(flow.request.method, flow.request.path):
        raise SkippedEntry(NOT_CHAT)
    request, response = flow.request, flow.response
    body = response.raw_content if response is not None else None
    # mitmproxy keeps no body of a response that broke off, nor of one that it streamed; only the latter is left out.
    needs_body = response is not None and 200 <= response.status_code < 300 and flow.error is None
    if request.raw_content is None or (needs_body and body is None):
        raise SkippedEntry(NO_BODY)
    start = request.timestamp_start
    return ImportedExchange(
        exchange_id=id_of(round(start * 1_000_000), f"mitmproxy {flow.id}"),
        started_at_us=round(start * 1_000_000),
        client_connection_id=flow.client_conn.id,
        mode=flow.client_conn.proxy_mode.type_name,
        scheme=request.scheme,
        host=request.pretty_host,
        port=request.port,
        http_version=request.http_version,
        target=request.path,
        request_headers=list(request.headers.items(multi=True)),
        request=request.raw_content,
        status=response.status_code if response is not None else None,
        response_headers=list(response.headers.items(multi=True)) if response is not None else [],
        response=body or b"",
        times=_times(flow, counted_connections),
        ending=_ending(flow),
        note={
            "decoded": False,
            "stream": None,
            "bytes": {
                "request_bytes": len(request.raw_content),
                "response_bytes": None if body is None else len(body),
            },
        },
    )


def _times(flow: http.HTTPFlow, counted_connections: set[str]) -> StageTimes:
    start, response = flow.request.timestamp_start, flow.response
    times = _connecting(flow.server_conn, counted_connections)
    times["request_sent_us"] = microseconds(start, flow.request.timestamp_end)
    if response is not None:
        times["response_headers_us"] = microseconds(start, response.timestamp_start)
    return times


def _connecting(server: Server, counted_connections: set[str]) -> StageTimes:
    """Return how long connecting took, for the first exchange of each connection only, as the recorder does."""
    if server.id in counted_connections or not server.timestamp_tcp_setup:
        return {}
    counted_connections.add(server.id)
    durations = connecting_times(server)
    return {"connect_us": durations.get("connect_us"), "tls_us": durations.get("tls_us")}


def _ending(flow: http.HTTPFlow) -> Ending:
    start, response, error = flow.request.timestamp_start, flow.response, flow.error
    if response is not None and response.timestamp_end is not None:
        return {"how": "response", "ended_us": microseconds(start, response.timestamp_end)}
    if error is None:
        return {"how": "stopped", "ended_us": None}
    return {
        "how": "error",
        "error": error.msg,
        "ended_us": microseconds(start, error.timestamp),
        "client_connected": _CLIENT_LEFT not in error.msg.lower(),
        "server_connected": False,
        "server_reached": is_reached(flow),
    }
