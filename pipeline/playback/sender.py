"""Sends planned requests over HTTP: so many at a time, when they are due, and again where a server asks for patience.

What is sent is planned in `replay_plan`, and answers are the recorder's to keep: here they are read and dropped. The
key is put into a header and nowhere else.
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
from .replay_plan import Plan, Sending, is_answered

# Models think for minutes before their first byte.
ANSWER_SECONDS = 600.0
MAX_ATTEMPTS = 10
# Without a word of the server's, the wait doubles from the one to the other.
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0
# Who asks for more patience than this is not waited for.
MOST_PATIENCE_SECONDS = 600.0
# A server that leaves so many requests in a row unanswered, each tried as often as may be, answers none.
MOST_GIVEN_UP = 5
_READ_BYTES = 65_536
_POLL_SECONDS = 0.2
_NEVER = float("inf")


@dataclass(frozen=True)
class Sent:
    """How one request ended: the last status, None where no answer came, and how often it was tried."""

    exchange_id: str
    status: int | None
    attempts: int
    problem: str = ""

    @property
    def is_answered(self) -> bool:
        return is_answered(self.status)


@dataclass(frozen=True)
class Target:
    """Where requests go: a recorder's address with the base path, and the key for who stands behind it."""

    url: str
    key: str | None = None


def send_all(plan: Plan, target: Target, *, concurrency: int, speed: float) -> Generator[Sent]:
    """Send what is planned, so many at a time; gives each as it ends, and ends early where nobody answers.

    `speed` 1 sends each when it was sent then, 10 ten times as fast, 0 as soon as there is room.
    """
    sender = _Sender(plan, target, speed)
    for _ in range(min(concurrency, len(plan.sendings))):
        threading.Thread(target=sender.work, daemon=True).start()
    given_up = 0
    try:
        for _ in plan.sendings:
            yield (sent := sender.wait())
            given_up = 0 if sent.is_answered else given_up + 1
            if given_up == MOST_GIVEN_UP:
                return
    finally:
        sender.stop()


class _Sender:
    """Sends requests in several threads, each over a connection of its own."""

    def __init__(self, plan: Plan, target: Target, speed: float) -> None:
        self._done: SimpleQueue[Sent | Exception] = SimpleQueue()
        self._plan = plan
        self._waiting = iter(plan.sendings)
        self._target = urlsplit(target.url)
        self._key = {} if target.key is None else {"authorization": f"Bearer {target.key}"}
        self._speed = speed
        self._began = time.monotonic()
        self._first_offset = plan.sendings[0].offset_seconds if plan.sendings else 0.0
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: list[HTTPConnection] = []

    def work(self) -> None:
        """Send one request after the other until there are no more."""
        connection = HTTPConnection(str(self._target.hostname), self._target.port, timeout=ANSWER_SECONDS)
        with self._lock:
            self._connections.append(connection)
        try:
            while (sending := self._next()) is not None:
                self._done.put(self._send(connection, sending))
        except Exception as error:  # noqa: BLE001 - it is raised where the answers are waited for
            self._done.put(error)
        finally:
            connection.close()

    def wait(self) -> Sent:
        """The next request that has ended. Raises what a thread failed with."""
        while True:
            # Where Polars is loaded, a Ctrl-C wakes nobody up who waits without end.
            with suppress(Empty):
                sent = self._done.get(timeout=_POLL_SECONDS)
                if isinstance(sent, Exception):
                    raise sent
                return sent

    def stop(self) -> None:
        """Break off what runs: nobody waits for it any more."""
        self._stopping.set()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError, AttributeError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _next(self) -> Sending | None:
        with self._lock:
            return None if self._stopping.is_set() else next(self._waiting, None)

    def _send(self, connection: HTTPConnection, sending: Sending) -> Sent:
        """Send one request until it is answered, or patience ends."""
        if self._speed:
            due = self._began + (sending.offset_seconds - self._first_offset) / self._speed
            self._stopping.wait(max(due - time.monotonic(), 0))
        body, headers, path = self._plan.body_of(sending), sending.headers | self._key, self._path_of(sending)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            answered = self._try(connection, path, body, headers)
            seconds = _usual_wait(attempt) if answered.wait_seconds is None else answered.wait_seconds
            is_last = attempt == MAX_ATTEMPTS or seconds > MOST_PATIENCE_SECONDS
            if is_answered(answered.status) or is_last or self._stopping.wait(seconds):
                break
        return Sent(sending.row["exchange_id"], answered.status, attempt, answered.problem)

    def _path_of(self, sending: Sending) -> str:
        path = self._target.path + api_of(sending.row).endpoint
        return self._target._replace(scheme="", netloc="", path=path).geturl()

    def _try(self, connection: HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> _Answered:
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as error:
                raise DataError(f"The recorder does not answer any more: {error.strerror or error}.") from error
        status = None
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            status = response.status
            _read_to_its_end(response)
        except (OSError, HTTPException) as error:
            connection.close()
            return _Answered(status, None, f"the connection broke: {error or type(error).__name__}")
        problem = "" if is_answered(status) else f"status {status} {response.reason}"
        return _Answered(status, asked_patience(response.headers, datetime.now(UTC)), problem)


@dataclass(frozen=True)
class _Answered:
    """What came of one attempt; `wait_seconds` is what the server asks for."""

    status: int | None
    wait_seconds: float | None
    problem: str


def asked_patience(headers: HTTPMessage, now: datetime) -> float | None:
    """Seconds after which a server wants to be asked again, without end where it never does; None if it says nothing.

    RFC 9110, section 10.2.3, and what OpenAI's servers say to OpenAI's clients.
    """
    if headers.get("x-should-retry", "").lower() == "false":
        return _NEVER
    with suppress(ValueError):
        return max(0.0, float(headers.get("retry-after-ms", "")) / 1000)
    text = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(text))
    with suppress(ValueError):
        # A date without a zone is in UTC.
        at = parsedate_to_datetime(text)
        return max((at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds(), 0.0)
    return None


def _usual_wait(attempt: int) -> float:
    return min(FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1), LONGEST_WAIT_SECONDS)


def _read_to_its_end(response: HTTPResponse) -> None:
    while response.read(_READ_BYTES):
        pass
