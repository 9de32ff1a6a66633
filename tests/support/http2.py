"""HTTP/2 over TLS on both ends: a provider that answers with the same stream always, a client that cancels one.

Clients of the usual libraries close the connection; a stream that is cancelled on an open one is made here.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable
from typing import Self

import h2.config
import h2.connection
import h2.errors
import h2.events

from .scripted import WAIT_SECONDS, Turns

_SENT_AT_ONCE = 16_384


class Http2Provider:
    """Sends `pieces`, a DATA frame each; with `reset` it then breaks the stream off, with `endless` it just waits."""

    def __init__(
        self, context: ssl.SSLContext, pieces: Iterable[bytes], *, reset: bool = False, endless: bool = False
    ) -> None:
        context.set_alpn_protocols(["h2"])
        self._context = context
        self._pieces = list(pieces)
        self._reset = reset
        self._endless = endless
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.requests: list[bytes] = []
        self.reset_seen = Turns()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

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
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket) -> None:
        raw.settimeout(WAIT_SECONDS)
        with contextlib.suppress(OSError), self._context.wrap_socket(raw, server_side=True) as connection:
            state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
            state.initiate_connection()
            connection.sendall(state.data_to_send())
            bodies: dict[int, bytes] = {}
            while data := connection.recv(_SENT_AT_ONCE):
                for event in state.receive_data(data):
                    self._take(state, event, bodies)
                connection.sendall(state.data_to_send())

    def _take(self, state: h2.connection.H2Connection, event: h2.events.Event, bodies: dict[int, bytes]) -> None:
        if isinstance(event, h2.events.DataReceived):
            bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
            state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.reset_seen.give()
        elif isinstance(event, h2.events.StreamEnded):
            self.requests.append(bodies[event.stream_id])
            self._answer(state, event.stream_id)

    def _answer(self, state: h2.connection.H2Connection, stream: int) -> None:
        state.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
        for piece in self._pieces:
            state.send_data(stream, piece)
        if self._reset:
            state.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif not self._endless:
            state.end_stream(stream)


class Http2Client:
    """One stream to an authority, over a connection that is open; use it as a context manager."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, host: str) -> None:
        context.set_alpn_protocols(["h2"])
        self._host = host
        self._socket = context.wrap_socket(connection, server_hostname=host)
        self._state = h2.connection.H2Connection()
        self._state.initiate_connection()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def ask(self, path: str, body: bytes) -> None:
        head = [(":method", "POST"), (":scheme", "https"), (":authority", self._host), (":path", path)]
        self._state.send_headers(1, head)
        self._state.send_data(1, body, end_stream=True)
        self._socket.sendall(self._state.data_to_send())

    def read(self, size: int) -> bytes:
        """So many bytes of the answer's body."""
        read = b""
        while len(read) < size:
            for event in self._state.receive_data(self._socket.recv(_SENT_AT_ONCE)):
                read += event.data if isinstance(event, h2.events.DataReceived) else b""
            self._socket.sendall(self._state.data_to_send())
        return read

    def cancel(self) -> None:
        """End the stream, and not the connection."""
        self._state.reset_stream(1, h2.errors.ErrorCodes.CANCEL)
        self._socket.sendall(self._state.data_to_send())
