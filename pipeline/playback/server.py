"""Answers requests from a recording, over HTTP and with the recorded timing.

`matching` finds the recorded exchange and `response_plan` plans its response; this module has the sockets and the
clock. A response that broke off when it was recorded breaks off again: its connection closes before HTTP's end of the
body.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from types import FrameType
from typing import Any, Self
from urllib.parse import urlsplit

from ..apis.registry import is_recorded_path
from ..errors import UsageError
from ..loopback_server import LoopbackHandler, LoopbackServer
from ..wire.json_text import dumps
from ..wire.terminal_text import one_line
from .matching import IncomingRequest, explain, read_incoming
from .recording import Recording
from .response_plan import ResponsePlan, plan_response

# After this time without a request, the connection of a client is closed.
IDLE_SECONDS = 600.0
MODELS = "/models"

_STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
Log = Callable[[str], None]


class RecordingServer(LoopbackServer):
    """A server of one recording, in threads of this process; use it as a context manager.

    `speed` 1 keeps the recorded timing, 10 is ten times as fast, 0 does not wait. `log` is called with a message for
    each request that was not recorded.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        log: Log | None = None,
    ) -> None:
        super().__init__(host, port, _Handler)
        self.recording = recording
        self.speed = speed
        self.log = log or (lambda _text: None)
        #: The error messages of requests that were not in the recording.
        self.unknown: list[str] = []

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop listening; responses that still run break off."""
        self.stopping.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Handler(LoopbackHandler):
    timeout = IDLE_SECONDS
    server: RecordingServer

    def do_GET(self) -> None:
        if not self._path.rstrip("/").endswith(MODELS):
            self._refuse(HTTPStatus.NOT_FOUND, f"Unknown request URL: GET {self._path}.", "unknown_url")
            return
        names = self.server.recording.models
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "tapeline"} for name in names]
        self._send_json(HTTPStatus.OK, {"object": "list", "data": models})

    def do_POST(self) -> None:
        began = time.monotonic()
        try:
            body = self.read_body()
        except ValueError as error:
            # Nobody knows where this request ends and the next one begins.
            self.close_connection = True
            self._refuse(HTTPStatus.BAD_REQUEST, f"The request's body has no length: {error}.", "bad_request")
            return
        target = urlsplit(self.path)
        if not is_recorded_path(target.path):
            self._refuse(HTTPStatus.NOT_FOUND, f"Unknown request URL: POST {self._path}.", "unknown_url")
            return
        host = target.netloc or self.headers.get("Host", "")
        incoming = read_incoming(body, self.headers.get("Content-Encoding", ""), host, target.path)
        row = self.server.recording.requests.next_match(incoming)
        if row is None:
            self._refuse_unknown(incoming)
            return
        self.exchange_id = row["exchange_id"]
        plan = plan_response(row, asks_stream=incoming.context.streamed, asks_usage=incoming.asks_usage)
        self._send(plan, began)

    @property
    def _path(self) -> str:
        return urlsplit(self.path).path

    def _refuse_unknown(self, incoming: IncomingRequest) -> None:
        recording = self.server.recording
        message = explain(recording.requests.nearest(incoming), incoming, recording.texts)
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

    def _send(self, plan: ResponsePlan, began: float) -> None:
        self._wait_until(began, plan.head_us if plan.status is not None else plan.ended_us)
        if plan.status is None:
            self.close_connection = True
            return
        in_chunks = plan.streamed or plan.cut
        self._send_head(plan, plan.status, in_chunks)
        for at_us, data in plan.parts:
            self._wait_until(began, at_us)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if in_chunks and data else data)
        self._wait_until(began, plan.ended_us)
        if plan.cut:
            self.close_connection = True
        elif in_chunks:
            self.wfile.write(b"0\r\n\r\n")

    def _send_head(self, plan: ResponsePlan, status: int, in_chunks: bool) -> None:
        # `send_response` would add the name of this server: the client is to see the recorded one.
        self.send_response_only(status)
        for name, value in plan.headers:
            # The value was decoded as UTF-8, and `http.server` encodes as Latin-1: this keeps the original bytes.
            self.send_header(name, value.encode().decode("latin-1"))
        self.send_header("X-Tapeline-Exchange", self.exchange_id)
        if in_chunks:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(sum(len(data) for _, data in plan.parts)))
        self.end_headers()

    def _wait_until(self, began: float, at_us: int) -> None:
        if not self.server.speed:
            return
        seconds = began + at_us / 1_000_000 / self.server.speed - time.monotonic()
        if seconds > 0 and self.server.stopping.wait(seconds):
            raise ConnectionAbortedError("the server stops")


def serve(recording: Recording, *, host: str, port: int, speed: float) -> None:
    """Serve until a signal comes, and print the address on stderr. Raises UsageError where nothing can listen."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in _STOP_SIGNALS:
        signal.signal(number, on_signal)
    try:
        server = RecordingServer(recording, host=host, port=port, speed=speed, log=_print)
    except OSError as error:
        raise UsageError(f"Cannot listen on {host}:{port}: {error.strerror}. Name another with --port.") from error
    with server:
        _print(f"Serving {recording.exchanges:,} recorded exchanges   use it as: OPENAI_BASE_URL={server.url}/v1")
        _print("Ctrl-C ends it.")
        stop.wait()
    _print(f"Ended; {len(server.unknown):,} requests were not in the recording.")


def _print(text: str) -> None:
    sys.stderr.write(one_line(text) + "\n")
    sys.stderr.flush()
