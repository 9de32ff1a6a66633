"""What the two HTTP servers of this project share: the demo's provider and the server of recordings.

Both listen on an address of this machine, run in threads of this process and write nothing to stderr about clients
that hang up. What they answer is their own business.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, override

# Requests come from the user's own programs and may hold images; a larger body is not a chat completion.
MAX_REQUEST_BYTES = 512 * 1024 * 1024
POLL_SECONDS = 0.05
#: Addresses that mean "every interface", and where a client on this machine reaches them.
_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class LoopbackServer(ThreadingHTTPServer):
    """An HTTP server in threads of this process; `thread` runs it once it is started."""

    daemon_threads = True
    request_queue_size = 128
    scheme = "http"

    def __init__(self, host: str, port: int, handler: type[LoopbackHandler]) -> None:
        """Listen on the address. Raises OSError where that is impossible."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)
        #: Set when the server stops: responses that still run break off.
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), daemon=True)

    @property
    def url(self) -> str:
        """The URL for clients on this machine, without a path."""
        host = _REACHED_AT.get(self.server_name, self.server_name)
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.server_port}"

    @override
    def server_bind(self) -> None:
        # HTTPServer looks up the name of the address here, which may ask the network.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up or refuse the certificate; report everything else."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class LoopbackHandler(BaseHTTPRequestHandler):
    """One connection of a client, kept alive between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def read_body(self) -> bytes:
        """Read the request's body.

        Raises ValueError for a length that is not a number or too large, and ConnectionAbortedError where the client
        left before its request was whole.
        """
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._read_chunks())
        length = _size(self.headers.get("Content-Length") or "0", 10)
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionAbortedError("the client left before its request was whole")
        return data

    def _read_chunks(self) -> Iterator[bytes]:
        while size := _size(self.rfile.readline().decode("latin-1").partition(";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log."""


def _size(text: str, base: int) -> int:
    """Read a length as HTTP writes it. Raises ValueError for one that is negative or beyond `MAX_REQUEST_BYTES`."""
    size = int(text.strip(), base)
    if not 0 <= size <= MAX_REQUEST_BYTES:
        raise ValueError(f"a body cannot have {size} bytes")
    return size
