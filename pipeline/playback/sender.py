"""Sends planned requests over HTTP: several at a time, when they are due, and again if a server asks for a retry.

`replay_plan` makes the plan. Responses are read and dropped, because the recorder keeps them. The key is put into a
header and nowhere else.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

from ..apis.registry import api_of
from ..errors import DataError
from .replay_plan import PlannedRequest, ReplayPlan, is_answered

# Models think for minutes before their first byte.
RESPONSE_SECONDS = 600.0
MAX_ATTEMPTS = 10
# Where the server names no time, the wait doubles with each attempt, from the first to the longest.
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0
# A server that asks for a longer wait than this is not waited for.
LONGEST_REQUESTED_WAIT_SECONDS = 600.0
# After this number of unanswered requests in a row, each tried `MAX_ATTEMPTS` times, the replay ends.
MAX_UNANSWERED_IN_A_ROW = 5
_READ_BYTES = 65_536
_POLL_SECONDS = 0.2
_NEVER = float("inf")


@dataclass(frozen=True)
class SentRequest:
    """How one request ended: the last status, None where no response came, and the number of attempts."""

    exchange_id: str
    status: int | None
    attempts: int
    problem: str = ""

    @property
    def is_answered(self) -> bool:
        return is_answered(self.status)


@dataclass(frozen=True)
class Target:
    """Where requests go: a recorder's address with the base path, and the key for the upstream behind it."""

    url: str
    key: str | None = None


def send_all(plan: ReplayPlan, target: Target, *, concurrency: int, speed: float) -> Generator[SentRequest]:
    """Send the planned requests, `concurrency` at a time, and yield each as it ends; stop early if none is answered.

    `speed` 1 keeps the recorded timing, 10 is ten times as fast, 0 sends each as soon as a connection is free.
    """
    sender = _Sender(plan, target, speed)
    for _ in range(min(concurrency, len(plan.requests))):
        threading.Thread(target=sender.work, daemon=True).start()
    unanswered = 0
    try:
        for _ in plan.requests:
            yield (sent := sender.wait())
            unanswered = 0 if sent.is_answered else unanswered + 1
            if unanswered == MAX_UNANSWERED_IN_A_ROW:
                return
    finally:
        sender.stop()


class _Sender:
    """Sends requests in several threads, each over a connection of its own."""

    def __init__(self, plan: ReplayPlan, target: Target, speed: float) -> None:
        self._done: SimpleQueue[SentRequest | Exception] = SimpleQueue()
        self._plan = plan
        self._waiting = iter(plan.requests)
        self._target = urlsplit(target.url)
        self._key = {} if target.key is None else {"authorization": f"Bearer {target.key}"}
        self._speed = speed
        self._began = time.monotonic()
        self._first_offset = plan.requests[0].offset_seconds if plan.requests else 0.0
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: list[HTTPConnection] = []

    def work(self) -> None:
        """Send one request after the other until there are no more."""
        connection = HTTPConnection(str(self._target.hostname), self._target.port, timeout=RESPONSE_SECONDS)
        with self._lock:
            self._connections.append(connection)
        try:
            while (planned := self._next()) is not None:
                self._done.put(self._send(connection, planned))
        except Exception as error:  # noqa: BLE001 - `wait` raises it in the caller's thread
            self._done.put(error)
        finally:
            connection.close()

    def wait(self) -> SentRequest:
        """Wait for the next request to end. Raises the exception of a thread that failed."""
        while True:
            # With Polars loaded, Ctrl-C does not interrupt a wait without a timeout.
            with suppress(Empty):
                sent = self._done.get(timeout=_POLL_SECONDS)
                if isinstance(sent, Exception):
                    raise sent
                return sent

    def stop(self) -> None:
        """Break off the requests that still run: nobody waits for them any more."""
        self._stopping.set()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError, AttributeError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _next(self) -> PlannedRequest | None:
        with self._lock:
            return None if self._stopping.is_set() else next(self._waiting, None)

    def _send(self, connection: HTTPConnection, planned: PlannedRequest) -> SentRequest:
        """Send one request when it is due, until it is answered or has no attempt left."""
        if self._speed:
            due = self._began + (planned.offset_seconds - self._first_offset) / self._speed
            self._stopping.wait(max(due - time.monotonic(), 0))
        body, headers, path = self._plan.body_of(planned), planned.headers | self._key, self._path_of(planned)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            result = self._try(connection, path, body, headers)
            seconds = _usual_wait(attempt) if result.wait_seconds is None else result.wait_seconds
            is_last = attempt == MAX_ATTEMPTS or seconds > LONGEST_REQUESTED_WAIT_SECONDS
            if is_answered(result.status) or is_last or self._stopping.wait(seconds):
                break
        return SentRequest(planned.row["exchange_id"], result.status, attempt, result.problem)

    def _path_of(self, planned: PlannedRequest) -> str:
        path = self._target.path + api_of(planned.row).endpoint
        return self._target._replace(scheme="", netloc="", path=path).geturl()

    def _try(self, connection: HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> _AttemptResult:
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as error:
                raise DataError(f"The recorder no longer answers: {error.strerror or error}.") from error
        status = None
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            status = response.status
            _read_to_end(response)
        except (OSError, HTTPException) as error:
            connection.close()
            return _AttemptResult(status, None, f"the connection broke: {error or type(error).__name__}")
        problem = "" if is_answered(status) else f"status {status} {response.reason}"
        return _AttemptResult(status, requested_wait(response.headers, datetime.now(UTC)), problem)


@dataclass(frozen=True)
class _AttemptResult:
    """The result of one attempt; `wait_seconds` is the wait that the server asks for, None where it names none."""

    status: int | None
    wait_seconds: float | None
    problem: str


def requested_wait(headers: HTTPMessage, now: datetime) -> float | None:
    """Return the seconds that a response asks to wait before a retry: infinity for never, None if it names no time.

    The rules are those of RFC 9110, section 10.2.3, and of the headers that OpenAI's servers send to OpenAI's clients.
    """
    if headers.get("x-should-retry", "").lower() == "false":
        return _NEVER
    with suppress(ValueError):
        return max(0.0, float(headers.get("retry-after-ms", "")) / 1000)
    text = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(text))
    with suppress(ValueError):
        # A date without a time zone is in UTC.
        at = parsedate_to_datetime(text)
        return max((at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds(), 0.0)
    return None


def _usual_wait(attempt: int) -> float:
    return min(FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1), LONGEST_WAIT_SECONDS)


def _read_to_end(response: HTTPResponse) -> None:
    while response.read(_READ_BYTES):
        pass
