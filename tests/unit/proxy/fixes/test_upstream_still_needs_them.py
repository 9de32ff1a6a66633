"""mitmproxy still needs each correction: where one of these fails, mitmproxy has changed, and the correction may go."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import _http1, _http2
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestHeaders
from mitmproxy.proxy.server import ConnectionHandler

from tapeline.pipeline.proxy.fixes import http1, http2

REQUEST = http.Request.make("POST", "http://localhost/v1/chat/completions")
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nHi"
WITH_TRAILERS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nHi\r\n0\r\nX-A: b\r\n\r\n"


def context() -> Context:
    options = Options()
    for name, default in (("validate_inbound_headers", False), ("normalize_outbound_headers", True)):
        options.add_option(name, bool, default, "")
    client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2))
    made = Context(client, options)
    made.server = Server(address=("localhost", 80))
    return made


def event_names(layer: Any, data: bytes, request: http.Request = REQUEST) -> list[str]:
    """Names of the events that the server's side of an exchange makes of bytes, in order."""
    return [type(event).__name__ for event in received(layer, data, request)]


def received(layer: Any, data: bytes, request: http.Request = REQUEST) -> Iterator[Any]:
    server = layer.context.server
    list(layer.handle_event(events.Start()))
    list(layer.handle_event(RequestHeaders(1, request.copy(), end_stream=False)))
    for command in layer.handle_event(events.DataReceived(server, data)):
        assert isinstance(command, commands.Command)
        if isinstance(command, ReceiveHttp):
            yield command.event


def test_early_hints_pass_for_the_response() -> None:
    assert event_names(_http1.Http1Client(context()), EARLY_HINTS + RESPONSE) == [
        "ResponseHeaders",
        "ResponseEndOfMessage",
    ]
    assert event_names(http1.Http1Client(context()), EARLY_HINTS + RESPONSE) == [
        "ResponseHeaders",
        "ResponseHeaders",
        "ResponseData",
        "ResponseEndOfMessage",
    ]


@pytest.mark.parametrize("cut", range(len(EARLY_HINTS + RESPONSE)))
def test_early_hints_may_come_in_pieces(cut: int) -> None:
    layer = http1.Http1Client(context())
    data = EARLY_HINTS + RESPONSE
    heads = [event for event in received(layer, data[:cut]) if hasattr(event, "response")]
    for command in layer.handle_event(events.DataReceived(layer.context.server, data[cut:])):
        if isinstance(command, ReceiveHttp) and hasattr(command.event, "response"):
            heads.append(command.event)
    assert [head.response.status_code for head in heads] == [103, 200]


def test_trailers_are_an_exception() -> None:
    with pytest.raises(NotImplementedError):
        event_names(_http1.Http1Client(context()), WITH_TRAILERS)
    assert event_names(http1.Http1Client(context()), WITH_TRAILERS) == [
        "ResponseHeaders",
        "ResponseData",
        "ResponseTrailers",
        "ResponseEndOfMessage",
    ]


def http2_response(*, informational: bool = False, goaway: bool = False) -> bytes:
    """Bytes that a server of HTTP/2 sends on its first stream before it resets the stream."""
    client, server = H2Connection(), H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    client.send_headers(1, [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")])
    server.receive_data(client.data_to_send())
    if informational:
        server.send_headers(1, [(":status", "103")])
    if goaway:
        server.close_connection(ErrorCodes.NO_ERROR, last_stream_id=1)
    else:
        server.reset_stream(1, ErrorCodes.INTERNAL_ERROR)
    return server.data_to_send()


HTTP2_REQUEST = http.Request.make("POST", "https://localhost/v1/chat/completions")
HTTP2_REQUEST.http_version = "HTTP/2.0"


def test_a_reset_by_the_server_is_blamed_on_the_client() -> None:
    (stock,) = received(_http2.Http2Client(context()), http2_response(), HTTP2_REQUEST)
    (corrected,) = received(http2.Http2Client(context()), http2_response(), HTTP2_REQUEST)
    assert stock.message == "stream reset by client (INTERNAL_ERROR)"
    assert corrected.message == "stream reset by the server (INTERNAL_ERROR)"


def test_informational_responses_of_http2_are_dropped() -> None:
    data = http2_response(informational=True)
    assert event_names(_http2.Http2Client(context()), data, HTTP2_REQUEST) == ["ResponseProtocolError"]
    assert event_names(http2.Http2Client(context()), data, HTTP2_REQUEST) == [
        "ResponseHeaders",
        "ResponseProtocolError",
    ]


def test_a_drained_connection_is_given_up() -> None:
    data = http2_response(goaway=True)
    assert event_names(_http2.Http2Client(context()), data, HTTP2_REQUEST) == ["ResponseProtocolError"]
    assert event_names(http2.Http2Client(context()), data, HTTP2_REQUEST) == []


def test_a_silent_connection_is_closed_without_a_reason() -> None:
    assert "client.error" not in inspect.getsource(ConnectionHandler.on_timeout)
