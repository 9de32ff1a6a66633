"""A server that follows a test's script step by step, and can wait for the test between two steps.

With it a test controls both ends of the recorder: it sends an event only after the client has read the one before, so
that a proxy that buffers events would block. Every wait has a limit; a script that fails makes the test fail.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self, override

WAIT_SECONDS = 30.0
POLL_SECONDS = 0.02
# struct linger: on, with no time. Closing then resets the connection.
NO_LINGER = struct.pack("ii", 1, 0)

Script = Callable[["Conversation"], None]


class Conversation(BaseHTTPRequestHandler):
    """One request, which a script responds to."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = WAIT_SECONDS
    server: ScriptedServer

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes of the body; fewer if it ends before."""
        return self.rfile.read(size)

    def read_body(self) -> bytes:
        """Read a body that was sent with its length."""
        return self.read(int(self.headers["Content-Length"]))

    def read_chunk(self) -> bytes:
        """Read the next chunk of a chunked body; no bytes at its end."""
        size = int(self.rfile.readline().strip(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def start(self, content_type: str = "text/event-stream", status: int = 200, **headers: str) -> None:
        """Send the head of a chunked response; underscores in header names stand for hyphens."""
        self._head(status, content_type, {"Transfer-Encoding": "chunked"} | headers)

    def send(self, data: bytes) -> None:
        """Send one chunk."""
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """Send the chunk that ends a body in order."""
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, data: bytes, content_type: str = "application/json", status: int = 200, **headers: str) -> None:
        """Send a whole response with its length."""
        self._head(status, content_type, {"Content-Length": str(len(data))} | headers)
        self.wfile.write(data)

    def hang_up(self) -> None:
        """Close the connection after the script, even if the response is incomplete."""
        self.close_connection = True

    def reset(self) -> None:
        """Reset the connection, as a killed process does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        os.close(self.connection.detach())

    def wait_for_hang_up(self) -> None:
        """Wait until the other side has closed or reset the connection."""
        try:
            left = self.rfile.read(1)
        except ConnectionError:
            left = b""
        assert not left, "the client keeps sending"
        self.close_connection = True

    def wait_for_hang_up_after(self, size: int, reply: bytes) -> None:
        """Read a farewell of `size` bytes, reply to it, and wait until the other side has closed the connection."""
        if self.rfile.read(size):
            self.wfile.write(reply)
        self.wait_for_hang_up()

    def converse(self) -> None:
        self.server.converse(self)

    do_POST = do_GET = do_HEAD = do_OPTIONS = do_DELETE = converse

    def _head(self, status: int, content_type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": content_type} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log."""


class ScriptedServer(ThreadingHTTPServer):
    """Runs a script for each request, over HTTPS if given a context; use it as a context manager."""

    daemon_threads = False

    def __init__(self, script: Script, ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.script = script
        self._ssl_context = ssl_context
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), daemon=True)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}" if self._ssl_context else f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return self.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        if kind is None and self._failures:
            raise self._failures[0]

    def converse(self, conversation: Conversation) -> None:
        try:
            self.script(conversation)
        except Exception as error:  # noqa: BLE001 - it is raised in the test's own thread
            self._failures.append(error)
            conversation.close_connection = True

    @override
    def server_bind(self) -> None:
        # HTTPServer looks up the name of the address here, which may ask the network.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    @override
    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._ssl_context:
            wrap = self._ssl_context.wrap_socket
            connection = wrap(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: connections break on purpose here, and failures of scripts are raised in the test."""


class Turns:
    """Lets one thread continue, step by step, when another allows it."""

    def __init__(self) -> None:
        self._given = threading.Semaphore(0)

    def give(self) -> None:
        self._given.release()

    def take(self) -> None:
        """Wait for a turn; fails after `WAIT_SECONDS`."""
        assert self._given.acquire(timeout=WAIT_SECONDS), "the other side never got that far"


def in_step(pieces: list[bytes], client_has_read: Turns) -> Script:
    """Return a script that sends these pieces, each one after the client has read the one before."""

    def script(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start()
        for piece in pieces:
            conversation.send(piece)
            client_has_read.take()
        conversation.end()

    return script
