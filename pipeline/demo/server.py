"""The provider on the wire: HTTP/1.1 on loopback, one write for each event, and a list of every response it sent.

A request may name its target as one does to a server (`/v1/...`) or to a proxy (`http://api.aiand.com/v1/...`, or
after a CONNECT). The provider answers all of them itself, as the system behind that host would, and connects to
nothing. `responses` plans the responses; comparing them with a recording is left to the caller.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from typing import Any, Self, override
from urllib.parse import urlsplit

from ..loopback_server import LoopbackHandler, LoopbackServer
from ..wire.json_text import JsonObject
from .answers import ANSWERS, Answers
from .responses import Ended, PlannedResponse, delays, events, model_list, plan_response, refusal, unknown_url
from .systems import system_for

IDLE_SECONDS = 60.0
STOP_SECONDS = 5.0
KEEP_ALIVE = b": keep-alive\n\n"
GZIP = zlib.MAX_WBITS | 16


@dataclass(frozen=True)
class SentResponse:
    """One request and the response that was sent to it."""

    host: str
    path: str
    request_headers: Mapping[str, str]
    request: Any
    """The JSON of the request; None if its body was not JSON."""
    status: int
    completion: JsonObject | None
    """The completion as it is sent without streaming; None for errors."""
    error: JsonObject | None
    """The body of an HTTP error, or the payload of the error event in the stream."""
    body: bytes
    """As sent, compressed if it was, without the framing of chunks."""
    event_times: tuple[float, ...]
    """time.monotonic() just before each event was written, including `[DONE]`."""
    ended: Ended

    @property
    def events(self) -> int:
        return len(self.event_times)


class BuiltInProvider(LoopbackServer):
    """A provider in threads of this process; use it as a context manager.

    `pace` multiplies every wait; 0 sends everything at once. With `ssl_context` the provider serves HTTPS.
    """

    def __init__(
        self, *, pace: float = 1.0, ssl_context: ssl.SSLContext | None = None, answers: Answers = ANSWERS
    ) -> None:
        super().__init__("127.0.0.1", 0, _Handler)
        self.scheme = "https" if ssl_context else "http"
        self.pace = pace
        self.answers = answers
        self.serials = count()
        self._ssl_context = ssl_context
        self._changed = threading.Condition()
        self._sent: list[SentResponse] = []
        self._connections: set[socket.socket] = set()

    def start(self) -> Self:
        self.thread.start()
        return self

    def stop(self) -> None:
        """Close every connection; streams that are still open break off."""
        self.stopping.set()
        if self.thread.is_alive():
            self.shutdown()
            self.thread.join(STOP_SECONDS)
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
    def sent(self) -> list[SentResponse]:
        """All responses so far, in the order in which they ended."""
        return self.wait_for_sent(0)

    def wait_for_sent(self, number: int, timeout: float = 10.0) -> list[SentResponse]:
        """Return `sent` once it has `number` entries: a client may see the end before it is noted here."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._sent) >= number, timeout)
            return list(self._sent)

    def note(self, sent: SentResponse) -> None:
        """Add a response that has ended."""
        with self._changed:
            self._sent.append(sent)
            self._changed.notify_all()

    @override
    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._ssl_context:
            # The handler's thread makes the handshake: here, one silent client would keep out all others.
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


class _Handler(LoopbackHandler):
    timeout = IDLE_SECONDS
    server: BuiltInProvider

    def do_GET(self) -> None:
        self._respond(None)

    def do_POST(self) -> None:
        try:
            request = json.loads(self.read_body())
        except ValueError:
            request = None
        self._respond(request)

    def do_CONNECT(self) -> None:
        # The tunnel ends here: the request that comes through it names its host again.
        self.send_response(HTTPStatus.OK)
        self.end_headers()

    def _respond(self, request: Any) -> None:
        self.body = bytearray()
        self.event_times: list[float] = []
        self.serial = next(self.server.serials)
        target = urlsplit(self.path)
        host = target.netloc or self.headers.get("Host", "")
        response = self._plan(host, target.path, request)
        ended = self._send(response)
        self.close_connection = self.close_connection or ended in ("reset", "client_left")
        is_ok = response.status == HTTPStatus.OK
        self.server.note(
            SentResponse(
                host=host,
                path=target.path,
                request_headers={name.lower(): value for name, value in self.headers.items()},
                request=request,
                status=response.status,
                completion=response.payload if is_ok and self.command == "POST" else None,
                error=response.error_event if is_ok else response.payload,
                body=bytes(self.body),
                event_times=tuple(self.event_times),
                ended=ended,
            )
        )

    def _plan(self, host: str, path: str, request: Any) -> PlannedResponse:
        system = system_for(host)
        if (self.command, path) == ("GET", system.base_path + "/models"):
            return model_list(self.server.answers)
        if (self.command, path) != ("POST", system.base_path + "/chat/completions"):
            return refusal(unknown_url(self.command, path), system)
        if system.without_key and "Authorization" not in self.headers:
            return refusal(system.without_key, system)
        return plan_response(self.server.answers, request, system, self.serial)

    def _send(self, response: PlannedResponse) -> Ended:
        try:
            return self._send_stream(response) if response.stream else self._send_whole(response)
        except OSError:
            return "reset" if self.server.stopping.is_set() else "client_left"

    def _send_whole(self, response: PlannedResponse) -> Ended:
        data = json.dumps(response.payload, ensure_ascii=False).encode(errors="replace")
        if self._zips(response):
            data = zlib.compress(data, wbits=GZIP)
        tokens = response.payload.get("usage", {}).get("completion_tokens", 0)
        self._pause(sum(delays(response.answer.pace, tokens, self.serial)))
        self._send_head(response, {"Content-Type": "application/json", "Content-Length": str(len(data))})
        cut = response.answer.cut
        lost = len(data) // 2 if cut and cut.how == "reset" else 0
        self.body += data[: len(data) - lost]
        self.wfile.write(self.body)
        return "reset" if lost else "complete"

    def _send_stream(self, response: PlannedResponse) -> Ended:
        self.compressor = zlib.compressobj(wbits=GZIP) if self._zips(response) else None
        self._send_head(response, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        if response.answer.keep_alive:
            self._send_chunk(KEEP_ALIVE)
        written, ended = events(response)
        for event, delay in zip(written, delays(response.answer.pace, len(written), self.serial), strict=True):
            self._pause(delay)
            now = time.monotonic()
            self._send_chunk(event)
            self.event_times.append(now)
        if ended != "reset":
            self._send_chunk(b"", zlib.Z_FINISH)
            self.wfile.write(b"0\r\n\r\n")
        return ended

    def _zips(self, response: PlannedResponse) -> bool:
        return response.answer.gzip and "gzip" in self.headers.get("Accept-Encoding", "")

    def _pause(self, seconds: float) -> None:
        if self.server.stopping.wait(seconds * self.server.pace):
            raise ConnectionAbortedError("the provider stops")

    def _send_head(self, response: PlannedResponse, framing: Mapping[str, str]) -> None:
        self.send_response(response.status)
        zipped = {"Content-Encoding": "gzip"} if self._zips(response) else {}
        own = {"Cache-Control": "no-cache", "X-Request-Id": f"req_{self.serial:08}"}
        for name, value in (own | dict(response.headers) | zipped | dict(framing)).items():
            self.send_header(name, value)
        self.end_headers()

    def _send_chunk(self, data: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> None:
        if self.compressor:
            data = self.compressor.compress(data) + self.compressor.flush(flush)
        if data:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.body += data
