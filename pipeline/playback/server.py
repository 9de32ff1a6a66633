"""Answers chat completions from a recording, over HTTP and with the recorded timing.

What is answered is found by `matching` and planned by `reply`; here are the sockets and the clock. An answer that was
cut is cut again: its connection closes before HTTP's end of the body.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import FrameType
from typing import Any, Self, override
from urllib.parse import urlsplit

from ..apis.registry import is_recorded_path
from ..errors import UsageError
from ..wire.json_text import dumps
from ..wire.terminal_text import one_line
from .matching import IncomingRequest, explain, read_incoming
from .recording import Recording
from .response_plan import ResponsePlan, plan_response

# Clients that keep a connection and say nothing.
IDLE_SECONDS = 600.0
POLL_SECONDS = 0.05
MODELS = "/models"
# Requests are the user's own, and may hold images; beyond this it is something else.
MAX_REQUEST_BYTES = 512 * 1024 * 1024

_STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
Log = Callable[[str], None]


class RecordingServer(ThreadingHTTPServer):
    """A server of one recording, in threads of this process; use it as a context manager.

    `speed` 1 answers as it was recorded, 10 ten times as fast, 0 at once. `log` is told of requests that were not
    recorded.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, archive: Recording, *, host: str = "127.0.0.1", port: int = 0, speed: float = 1.0, log: Log | None = None
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self.archive = archive
        self.speed = speed
        self.log = log or (lambda _text: None)
        self.stopping = threading.Event()
        #: What was asked and is not in the recording, in the words of the answers.
        self.unknown: list[str] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop listening; answers that still run break off."""
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.server_name, self.server_name)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}"

    @override
    def server_bind(self) -> None:
        # HTTPServer would look up the name of the address here, which may ask the network.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    server: RecordingServer

    def do_GET(self) -> None:
        if not urlsplit(self.path).path.rstrip("/").endswith(MODELS):
            self._refuse(HTTPStatus.NOT_FOUND, f"Unknown request URL: GET {self._path}.", "unknown_url")
            return
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "tapeline"} for name in self._models]
        self._send_json(HTTPStatus.OK, {"object": "list", "data": listed})

    def do_POST(self) -> None:
        began = time.monotonic()
        try:
            body = self._read_body()
        except ValueError as error:
            # Where the request ends is not known.
            self.close_connection = True
            self._refuse(HTTPStatus.BAD_REQUEST, f"The request's body has no length: {error}.", "bad_request")
            return
        target = urlsplit(self.path)
        if not is_recorded_path(target.path):
            self._refuse(HTTPStatus.NOT_FOUND, f"Unknown request URL: POST {self._path}.", "unknown_url")
            return
        host = target.netloc or self.headers.get("Host", "")
        asked = read_incoming(body, self.headers.get("Content-Encoding", ""), host, target.path)
        row = self.server.archive.requests.take(asked)
        if row is None:
            self._refuse_unknown(asked)
            return
        self.exchange_id = row["exchange_id"]
        self._send(plan_response(row, asks_stream=asked.manner.streamed, asks_usage=asked.asks_usage), began)

    @property
    def _path(self) -> str:
        return urlsplit(self.path).path

    @property
    def _models(self) -> list[str]:
        return self.server.archive.models

    def _refuse_unknown(self, asked: IncomingRequest) -> None:
        archive = self.server.archive
        nearest = archive.requests.nearest(asked)
        message = explain(nearest, asked, archive.texts)
        self.server.unknown.append(message)
        self.server.log(message)
        self._refuse(HTTPStatus.NOT_FOUND, message, "not_recorded")

    def _refuse(self, status: int, message: str, code: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self._send_json(status, {"error": error})

    def _send_json(self, status: int, payload: Any) -> None:
        data = dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _send(self, reply: ResponsePlan, began: float) -> None:
        self._wait_until(began, reply.head_us if reply.status is not None else reply.ended_us)
        if reply.status is None:
            self.close_connection = True
            return
        in_chunks = reply.streamed or reply.cut
        self._send_head(reply, in_chunks)
        for at_us, data in reply.parts:
            self._wait_until(began, at_us)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if in_chunks and data else data)
        self._wait_until(began, reply.ended_us)
        if reply.cut:
            self.close_connection = True
        elif in_chunks:
            self.wfile.write(b"0\r\n\r\n")

    def _send_head(self, reply: ResponsePlan, in_chunks: bool) -> None:
        assert reply.status is not None
        # The server is the one that was recorded: this one does not name itself.
        self.send_response_only(reply.status)
        for name, value in reply.headers:
            # It was read as UTF-8, and `http.server` writes Latin-1: so it goes out as the bytes that came.
            self.send_header(name, value.encode().decode("latin-1"))
        self.send_header("X-Tapeline-Exchange", self.exchange_id)
        if in_chunks:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(sum(len(data) for _, data in reply.parts)))
        self.end_headers()

    def _wait_until(self, began: float, at_us: int) -> None:
        if not self.server.speed:
            return
        seconds = began + at_us / 1_000_000 / self.server.speed - time.monotonic()
        if seconds > 0 and self.server.stopping.wait(seconds):
            raise ConnectionAbortedError("the server stops")

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._read_chunks())
        length = _size(self.headers.get("Content-Length") or "0", 10)
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionAbortedError("the request is not whole")
        return data

    def _read_chunks(self) -> Iterator[bytes]:
        while size := _size(self.rfile.readline().decode("latin-1").partition(";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what a user has to know is told by `log`."""


def _size(text: str, base: int) -> int:
    """A length as it stands in HTTP. Raises ValueError for what is none, or more than a request may have."""
    size = int(text.strip(), base)
    if not 0 <= size <= MAX_REQUEST_BYTES:
        raise ValueError(f"{size} bytes are none that it can have")
    return size


def serve(archive: Recording, *, host: str, port: int, speed: float) -> None:
    """Serve until a signal, and say on stderr where. Raises UsageError where nothing can listen."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in _STOP_SIGNALS:
        signal.signal(number, on_signal)
    try:
        server = RecordingServer(archive, host=host, port=port, speed=speed, log=_say)
    except OSError as error:
        raise UsageError(f"Cannot listen on {host}:{port}: {error.strerror}. Name another with --port.") from error
    with server:
        _say(f"Serving {archive.exchanges:,} recorded exchanges   use it as: OPENAI_BASE_URL={server.url}/v1")
        _say("Ctrl-C ends it.")
        stop.wait()
    _say(f"Ended; {len(server.unknown):,} requests were not in the recording.")


def _say(text: str) -> None:
    sys.stderr.write(one_line(text) + "\n")
    sys.stderr.flush()
