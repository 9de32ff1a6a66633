"""HTTP/2 over TLS on both ends: a provider with scripted responses, and a client with scripted endings.

Common HTTP libraries only close the connection. These two can also reset a stream on an open connection, give up a
connection with GOAWAY, and send informational responses and trailers.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Self

import h2.config
import h2.connection
import h2.errors
import h2.events

from tests.support.servers.scripted import WAIT_SECONDS, Turns

_SENT_AT_ONCE = 16_384

Headers = list[tuple[str, str]]
#: Writes the response to a stream into the state of its connection; everything it writes is sent together.
Answer = Callable[[h2.connection.H2Connection, int], None]


def begin(state: h2.connection.H2Connection, stream: int, *pieces: bytes) -> None:
    """Send the head of an event stream, and pieces of its body, each in a DATA frame."""
    state.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
    for piece in pieces:
        state.send_data(stream, piece)


def streaming(*pieces: bytes) -> Answer:
    """Return the response of an event stream that ends in order."""

    def answer(state: h2.connection.H2Connection, stream: int) -> None:
        begin(state, stream, *pieces)
        state.end_stream(stream)

    return answer


def endless(*pieces: bytes) -> Answer:
    """Return the response of an event stream that never ends."""
    return lambda state, stream: begin(state, stream, *pieces)


class Http2Provider:
    """Responds to each request when it is complete, or with `at_once` when its head has come; a context manager."""

    def __init__(self, context: ssl.SSLContext, answer: Answer, *, at_once: bool = False) -> None:
        context.set_alpn_protocols(["h2"])
        self._context = context
        self._answer = answer
        self._at_once = at_once
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._bodies: dict[int, bytes] = {}
        self.connections = 0
        self.requests: list[bytes] = []
        self.trailers: list[Headers] = []
        #: Turns for the test: the first bytes of a body have come, a request is complete, a client has left.
        self.begun, self.asked, self.left = Turns(), Turns(), Turns()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def unfinished(self) -> bytes:
        """The part of the last request that has come."""
        return self._bodies[max(self._bodies)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(raw,), daemon=True)
            self.connections += 1
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket) -> None:
        raw.settimeout(WAIT_SECONDS)
        with contextlib.suppress(OSError), self._context.wrap_socket(raw, server_side=True) as connection:
            state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
            state.initiate_connection()
            connection.sendall(state.data_to_send())
            while data := connection.recv(_SENT_AT_ONCE):
                for event in state.receive_data(data):
                    self._take(state, event)
                connection.sendall(state.data_to_send())
                if state.state_machine.state is h2.connection.ConnectionState.CLOSED:
                    _hang_up(connection)
                    break
        self.left.give()

    def _take(self, state: h2.connection.H2Connection, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._bodies[event.stream_id] = b""
            if self._at_once:
                self._answer(state, event.stream_id)
        elif isinstance(event, h2.events.DataReceived):
            self._bodies[event.stream_id] += event.data
            self.begun.give()
            state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers.append([(name.decode(), value.decode()) for name, value in event.headers])
        elif isinstance(event, h2.events.StreamReset):
            self.left.give()
        elif isinstance(event, h2.events.StreamEnded):
            self.requests.append(self._bodies[event.stream_id])
            self.asked.give()
            if not self._at_once:
                self._answer(state, event.stream_id)


def _hang_up(connection: socket.socket) -> None:
    """Close only after the other side has closed: with unread bytes, closing resets the connection and loses data."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(_SENT_AT_ONCE):
        pass


class Http2Client:
    """Sends one stream after the other over an open connection; use it as a context manager."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, host: str) -> None:
        context.set_alpn_protocols(["h2"])
        self._host = host
        self._socket = context.wrap_socket(connection, server_hostname=host)
        self._state = h2.connection.H2Connection()
        self._state.initiate_connection()
        self._stream = -1
        self.renew()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def renew(self) -> None:
        """Start the next stream."""
        self._stream += 2
        self.heads: list[Headers] = []
        self.body = b""
        self.trailers: Headers = []
        #: How the stream ended: "in order", "reset" with its code, or "closed".
        self.end: str | None = None

    def ask(self, path: str, body: bytes, **headers: str) -> None:
        """Send a whole request."""
        self.begin(path, body, **headers)
        self.finish()

    def begin(self, path: str, body: bytes, **headers: str) -> None:
        """Send the head of a request and a part of its body; underscores in header names stand for hyphens."""
        head = [(":method", "POST"), (":scheme", "https"), (":authority", self._host), (":path", path)]
        more = [(name.lower().replace("_", "-"), value) for name, value in headers.items()]
        self._state.send_headers(self._stream, head + more)
        self._state.send_data(self._stream, body)
        self._flush()

    def finish(self, body: bytes = b"", trailers: Headers | None = None) -> None:
        """Send the rest of the body, and the end of the request."""
        if trailers:
            self._state.send_data(self._stream, body)
            self._state.send_headers(self._stream, trailers, end_stream=True)
        else:
            self._state.send_data(self._stream, body, end_stream=True)
        self._flush()

    def read(self, size: int) -> bytes:
        """Read until `size` bytes of the response's body have come, and return the body so far."""
        while len(self.body) < size and self.end is None:
            self._receive()
        return self.body

    def read_head(self) -> Headers:
        """Wait for the head of the response, and return it."""
        while not self.heads and self.end is None:
            self._receive()
        return self.heads[-1]

    def read_to_the_end(self) -> bytes:
        """Read the stream to its end; `end` holds how it ended."""
        while self.end is None:
            self._receive()
        return self.body

    def reset(self, code: h2.errors.ErrorCodes = h2.errors.ErrorCodes.CANCEL) -> None:
        """Reset the stream, but keep the connection."""
        self._state.reset_stream(self._stream, code)
        self._flush()

    def go_away(self) -> None:
        """Send GOAWAY and end the connection."""
        self._state.close_connection()
        self._flush()

    def _flush(self) -> None:
        self._socket.sendall(self._state.data_to_send())

    def _receive(self) -> None:
        data = self._socket.recv(_SENT_AT_ONCE)
        if not data:
            self.end = self.end or "closed"
            return
        for event in self._state.receive_data(data):
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.end = self.end or "closed"
        elif getattr(event, "stream_id", None) == self._stream:
            self._take_from_stream(event)

    def _take_from_stream(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived | h2.events.InformationalResponseReceived):
            self.heads.append([(name.decode(), value.decode()) for name, value in event.headers])
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data
            self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers = [(name.decode(), value.decode()) for name, value in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            self.end = "in order"
        elif isinstance(event, h2.events.StreamReset):
            self.end = f"reset {h2.errors.ErrorCodes(event.error_code).name}"
