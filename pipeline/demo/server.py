"""The provider on the wire: HTTP/1.1 on loopback, events one write each, and a note of all that was sent.

A request may name its target as a server's (`/v1/...`) or as a proxy's (`http://api.aiand.com/v1/...`, or after a
CONNECT): all are answered here, in the dialect of the host named, and nothing is ever connected to. What is said is
left to `answers` and `dialects`; comparing it with what somebody recorded is left to the caller.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from socketserver import TCPServer
from typing import Any, Literal, Self, override
from urllib.parse import urlsplit

from ..wire.json_text import JsonObject
from .answers import ANSWERS, FIRST_CREATED, Answers, CannedAnswer, Pace, completion, find_answer
from .systems import Dialect, Problem, chunks, dialect_for

IDLE_SECONDS = 60.0
POLL_SECONDS = 0.02
STOP_SECONDS = 5.0
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
GZIP = zlib.MAX_WBITS | 16

NO_ANSWER = CannedAnswer("no completion")

type Ended = Literal["complete", "reset", "truncated", "client_left", "error_event"]


@dataclass(frozen=True)
class Sent:
    """One request and all that was said to it."""

    host: str
    path: str
    request_headers: Mapping[str, str]
    request: Any
    """The JSON of the request; None where it had none."""
    status: int
    completion: JsonObject | None
    """The whole answer as it is, or would be, without streaming; None for errors."""
    error: JsonObject | None
    """The body of an HTTP error, or what the error event in the stream told."""
    body: bytes
    """As sent, compressed if it was, without the framing of chunks."""
    event_times: tuple[float, ...]
    """time.monotonic() just before each event was written, `[DONE]` among them."""
    ended: Ended

    @property
    def events(self) -> int:
        return len(self.event_times)


@dataclass(frozen=True)
class Reply:
    """What is to be said to one request."""

    status: int
    payload: JsonObject
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: CannedAnswer = NO_ANSWER
    stream: tuple[JsonObject, ...] = ()
    error_event: JsonObject | None = None


class BuiltInProvider(ThreadingHTTPServer):
    """A provider in threads of this process; use it as a context manager.

    `pace` stretches or shrinks all waiting, 0 sends all at once. With `ssl_context` it speaks HTTPS.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, *, pace: float = 1.0, ssl_context: ssl.SSLContext | None = None, answers: Answers = ANSWERS
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pace = pace
        self.answers = answers
        self.serials = count()
        self.stopping = threading.Event()
        self._ssl_context = ssl_context
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), daemon=True)
        self._changed = threading.Condition()
        self._sent: list[Sent] = []
        self._connections: set[socket.socket] = set()

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close every connection; streams still open break off."""
        self.stopping.set()
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join(STOP_SECONDS)
        self.server_close()
        with self._changed:
            for connection in self._connections:
                # A TLS socket's own method would drop the state that another thread is reading with.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections, STOP_SECONDS)

    __enter__ = start

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return self.server_port

    @property
    def url(self) -> str:
        return f"{'https' if self._ssl_context else 'http'}://127.0.0.1:{self.port}"

    @property
    def sent(self) -> list[Sent]:
        """What was sent so far, in the order in which it ended."""
        return self.wait_for_sent(0)

    def wait_for_sent(self, number: int, timeout: float = 10.0) -> list[Sent]:
        """`sent` once it has `number` entries: a client may see the end before it is noted here."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._sent) >= number, timeout)
            return list(self._sent)

    def note(self, sent: Sent) -> None:
        with self._changed:
            self._sent.append(sent)
            self._changed.notify_all()

    @override
    def server_bind(self) -> None:
        # HTTPServer would look up the name of the address here, which may ask the network.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    @override
    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._ssl_context:
            # The handshake is left to the handler's thread, or one silent client would keep out all others.
            wrap = self._ssl_context.wrap_socket
            connection = wrap(connection, server_side=True, do_handshake_on_connect=False)
        with self._changed:
            self._connections.add(connection)
        return connection, address

    @override
    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up or refuse the certificate: both happen on purpose."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    server: BuiltInProvider

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        try:
            request = json.loads(self._read_body())
        except ValueError:
            request = None
        self._serve(request)

    def do_CONNECT(self) -> None:
        # The tunnel ends here: what comes through it names its host once more.
        self.send_response(HTTPStatus.OK)
        self.end_headers()

    def _serve(self, request: Any) -> None:
        self.body = bytearray()
        self.event_times: list[float] = []
        self.serial = next(self.server.serials)
        target = urlsplit(self.path)
        host = target.netloc or self.headers.get("Host", "")
        reply = self._reply(host, target.path, request)
        ended = self._send(reply)
        self.close_connection = self.close_connection or ended in ("reset", "client_left")
        done = reply.status == HTTPStatus.OK
        self.server.note(
            Sent(
                host=host,
                path=target.path,
                request_headers={name.lower(): value for name, value in self.headers.items()},
                request=request,
                status=reply.status,
                completion=reply.payload if done and self.command == "POST" else None,
                error=reply.error_event if done else reply.payload,
                body=bytes(self.body),
                event_times=tuple(self.event_times),
                ended=ended,
            )
        )

    def _reply(self, host: str, path: str, request: Any) -> Reply:
        dialect = dialect_for(host)
        if (self.command, path) == ("GET", dialect.base_path + "/models"):
            return Reply(200, _models(self.server.answers))
        problem = self._problem(path, dialect) or _problem_with(request, dialect)
        answer = None if problem else find_answer(self.server.answers, request, dialect)
        if answer is None:
            return _refusal(problem or _unknown_model(request), dialect)
        if answer.problem and not (answer.cut and request.get("stream")):
            return _refusal(answer.problem, dialect)
        now = int(time.time())
        payload = completion(answer, request, dialect, serial=self.serial, created=now)
        stream = tuple(chunks(payload, dialect, request)) if request.get("stream") else ()
        event = dialect.error_event(answer.problem) if answer.problem else None
        return Reply(200, payload, dialect.headers, answer, stream, event)

    def _problem(self, path: str, dialect: Dialect) -> Problem | None:
        if (self.command, path) != ("POST", dialect.base_path + "/chat/completions"):
            message = f"Unknown request URL: {self.command} {path}"
            return Problem(404, message, "invalid_request_error", code="unknown_url")
        return None if "Authorization" in self.headers else dialect.without_key

    def _send(self, reply: Reply) -> Ended:
        try:
            return self._send_stream(reply) if reply.stream else self._send_whole(reply)
        except OSError:
            return "reset" if self.server.stopping.is_set() else "client_left"

    def _send_whole(self, reply: Reply) -> Ended:
        data = json.dumps(reply.payload, ensure_ascii=False).encode(errors="replace")
        if self._zips(reply):
            data = zlib.compress(data, wbits=GZIP)
        tokens = reply.payload.get("usage", {}).get("completion_tokens", 0)
        self._pause(sum(_delays(reply.answer.pace, tokens, self.serial)))
        self._send_head(reply, {"Content-Type": "application/json", "Content-Length": str(len(data))})
        cut = reply.answer.cut
        lost = len(data) // 2 if cut and cut.how == "reset" else 0
        self.body += data[: len(data) - lost]
        self.wfile.write(self.body)
        return "reset" if lost else "complete"

    def _send_stream(self, reply: Reply) -> Ended:
        self.compressor = zlib.compressobj(wbits=GZIP) if self._zips(reply) else None
        self._send_head(reply, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        if reply.answer.keep_alive:
            self._send_chunk(KEEP_ALIVE)
        events, ended = _events(reply)
        for event, delay in zip(events, _delays(reply.answer.pace, len(events), self.serial), strict=True):
            self._pause(delay)
            now = time.monotonic()
            self._send_chunk(event)
            self.event_times.append(now)
        if ended != "reset":
            self._send_chunk(b"", zlib.Z_FINISH)
            self.wfile.write(b"0\r\n\r\n")
        return ended

    def _zips(self, reply: Reply) -> bool:
        return reply.answer.gzip and "gzip" in self.headers.get("Accept-Encoding", "")

    def _pause(self, seconds: float) -> None:
        if self.server.stopping.wait(seconds * self.server.pace):
            raise ConnectionAbortedError("the provider stops")

    def _send_head(self, reply: Reply, framing: Mapping[str, str]) -> None:
        self.send_response(reply.status)
        zipped = {"Content-Encoding": "gzip"} if self._zips(reply) else {}
        own = {"Cache-Control": "no-cache", "X-Request-Id": f"req_{self.serial:08}"}
        for name, value in (own | dict(reply.headers) | zipped | dict(framing)).items():
            self.send_header(name, value)
        self.end_headers()

    def _send_chunk(self, data: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> None:
        if self.compressor:
            data = self.compressor.compress(data) + self.compressor.flush(flush)
        if data:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.body += data

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._read_chunks())
        length = int(self.headers.get("Content-Length", "0"))
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionAbortedError("the client left before its request was whole")
        return data

    def _read_chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().strip().partition(b";")[0] or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `sent` tells it all."""


def _problem_with(request: Any, dialect: Dialect) -> Problem | None:
    """What makes this request unfit for any model, if anything."""
    kind = "invalid_request_error"
    if not isinstance(request, dict):
        return Problem(400, "The request body must be a JSON object.", kind)
    model, messages, heat = (request.get(name) for name in ("model", "messages", "temperature"))
    checks = {
        "model": (isinstance(model or dialect.default_model, str), "you must provide a model parameter"),
        "messages": (messages and isinstance(messages, list), "messages array must not be empty"),
        "temperature": (_is_temperature(heat), "temperature must be between 0 and 2"),
    }
    faults = ((message, name) for name, (fine, message) in checks.items() if not fine)
    return next((Problem(dialect.bad_value_status, text, kind, param=name) for text, name in faults), None)


def _is_temperature(value: object) -> bool:
    return 0 <= value <= 2 if isinstance(value, int | float) else value is None


def _refusal(problem: Problem, dialect: Dialect) -> Reply:
    body = problem.body or dialect.error_body(problem)
    return Reply(problem.status, body, {**dialect.headers, **problem.headers})


def _unknown_model(request: JsonObject) -> Problem:
    message = f"The model `{request['model']}` does not exist or you do not have access to it."
    return Problem(404, message, "invalid_request_error", code="model_not_found")


def _models(answers: Answers) -> JsonObject:
    row = {"object": "model", "created": FIRST_CREATED, "owned_by": "tapeline-demo"}
    return {"object": "list", "data": [{"id": name, **row} for name in answers]}


def _events(reply: Reply) -> tuple[list[bytes], Ended]:
    """The events of a stream as they are to be written, and how it is to end."""
    cut = reply.answer.cut
    events = [_event(payload) for payload in (reply.stream[: cut.after] if cut else reply.stream)]
    if cut and cut.how == "error_event":
        return [*events, _event(reply.error_event), DONE], "error_event"
    return (events, cut.how) if cut else ([*events, DONE], "complete")


def _event(payload: JsonObject | None) -> bytes:
    return b"data: %b\n\n" % json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def _delays(pace: Pace, events: int, seed: int) -> list[float]:
    """Seconds to wait before each event: uneven as real ones are, the same again for the same seed."""
    uneven = random.Random(seed)
    gaps = [pace.gap * uneven.uniform(0.4, 1.6) for _ in range(events)]
    gaps[:1] = [pace.first * uneven.uniform(0.7, 1.3)]
    if 0 < pace.stall_at < events:
        gaps[pace.stall_at] += pace.stall
    return [milliseconds / 1000 for milliseconds in gaps]
