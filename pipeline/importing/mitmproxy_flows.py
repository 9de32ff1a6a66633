"""Reads flow files of mitmproxy (`mitmdump -w`, or saved from its interfaces).

A flow has its bodies whole and the times of their beginning and end, not those of their chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.io import FlowReader

from tapeline.addons.tapeline_recorder.hooks import connecting_times, is_reached

from ..wire.json_text import JsonObject
from .imported_exchange import (
    NO_BODY,
    NO_CHAT,
    UNREADABLE,
    Found,
    ImportedExchange,
    LeftOut,
    id_of,
    is_chat,
    microseconds,
)

# What mitmproxy says of a client that hung up. The recorder tells by states that files do not have.
_CLIENT_LEFT = "client disconnected"


def read(path: Path, found: Found) -> Iterator[ImportedExchange]:
    """The chat completions among a file's flows, in their order; `found` has the rest. Raises OSError."""
    counted: set[str] = set()
    with path.open("rb") as file:
        flows = iter(FlowReader(file).stream())
        number = 0
        while True:
            try:
                flow = next(flows, None)
            except Exception as error:  # noqa: BLE001 - its reader raises more than it says of files that are damaged
                found.damage = f"behind {number:,} flows: {error}" if number else str(error)
                return
            if flow is None:
                return
            number += 1
            try:
                yield _arrival(flow, counted)
            except LeftOut as reason:
                found.left_out[str(reason)] += 1
            except (AttributeError, OverflowError, TypeError, ValueError):
                found.left_out[UNREADABLE] += 1


def _arrival(flow: object, counted: set[str]) -> ImportedExchange:
    if not isinstance(flow, http.HTTPFlow) or not is_chat(flow.request.method, flow.request.path):
        raise LeftOut(NO_CHAT)
    request, response = flow.request, flow.response
    body = response.raw_content if response is not None else None
    # mitmproxy keeps nothing of an answer that broke off; of the others it leaves bodies out that streamed through.
    needs_body = response is not None and 200 <= response.status_code < 300 and flow.error is None
    if request.raw_content is None or (needs_body and body is None):
        raise LeftOut(NO_BODY)
    start = request.timestamp_start
    return ImportedExchange(
        exchange_id=id_of(round(start * 1_000_000), f"mitmproxy {flow.id}"),
        started_at_us=round(start * 1_000_000),
        head={
            "client_connection_id": flow.client_conn.id,
            "mode": flow.client_conn.proxy_mode.type_name,
            "scheme": request.scheme,
            "host": request.pretty_host,
            "port": request.port,
            "http_version": request.http_version,
        },
        target=request.path,
        request_headers=list(request.headers.items(multi=True)),
        request=request.raw_content,
        status=response.status_code if response is not None else None,
        response_headers=list(response.headers.items(multi=True)) if response is not None else [],
        response=body or b"",
        times=_times(flow, counted),
        ending=_ending(flow),
        sizes={"request_bytes": len(request.raw_content), "response_bytes": None if body is None else len(body)},
    )


def _times(flow: http.HTTPFlow, counted: set[str]) -> JsonObject:
    start, response = flow.request.timestamp_start, flow.response
    times: JsonObject = {"request_sent_us": microseconds(start, flow.request.timestamp_end)}
    if response is not None:
        times["response_headers_us"] = microseconds(start, response.timestamp_start)
    return times | _connecting(flow.server_conn, counted)


def _connecting(server: Server, counted: set[str]) -> JsonObject:
    """Times of connecting, once a connection, as the recorder counts them."""
    if server.id in counted or not server.timestamp_tcp_setup:
        return {}
    counted.add(server.id)
    return dict(connecting_times(server))


def _ending(flow: http.HTTPFlow) -> JsonObject:
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
