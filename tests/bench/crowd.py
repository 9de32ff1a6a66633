"""Many clients at once and their provider, in one event loop that does as little work as possible.

The provider sends an event after its client has received the one before, so that each event passes the proxy alone,
however fast the proxy is: all proxies get the same work. With a pace the provider sends by the clock instead. Both
ends share this process and its clock, so the delay of an event is the difference of two times.

Several crowds exist at once, one for each proxy under test. Only the crowd that has its turn works; the others keep
their streams open and cost nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.clients.wire import PATH

MODEL = "gpt-4o-mini"
_WORDS = ("the", "answer", "follows", "from", "what", "was", "asked", "before")
_MARK = b"#"
_DIGITS = 9


def _chunk(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    about = {"object": "chat.completion.chunk", "created": 1790000000, "model": MODEL, "system_fingerprint": "fp_1"}
    usage = {"prompt_tokens": 64, "completion_tokens": 50, "total_tokens": 114} if finish else None
    event = {"id": "chatcmpl-BenchBenchBenchBenchBench", **about, "choices": [choice], "usage": usage}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


EVENTS = [_chunk({"role": "assistant", "content": f" {word}"}, None) for word in _WORDS]
LAST_EVENT = _chunk({}, "stop") + b"data: [DONE]\n\n"
COMPLETION = json.dumps(
    {
        "id": "chatcmpl-BenchBenchBenchBenchBench",
        "object": "chat.completion",
        "created": 1790000000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": " ".join(_WORDS * 20), "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 64, "completion_tokens": 160, "total_tokens": 224},
        "system_fingerprint": "fp_1",
    }
).encode()


@dataclass
class Exchange:
    """One request and its response while they pass."""

    crowd: Crowd
    #: The number of events of the response; 0 if it is not streamed.
    events: int
    requested_at: float
    #: Sends bytes of the response, and whether they are the last; set by the provider.
    send: Callable[[bytes, bool], None] | None = None
    sent: int = 0
    received: int = 0
    sent_at: list[float] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the client has received all events, and the `[DONE]` after the last."""
        return self.received == self.events + 1

    def respond(self, send: Callable[[bytes, bool], None]) -> None:
        """Start the response; the provider has the whole request."""
        self.send = send
        if not self.events:
            send(COMPLETION, True)
        else:
            self._send_next()

    def receive(self, count: int) -> None:
        """Note that the client has received so many more events."""
        crowd, now = self.crowd, time.perf_counter()
        if self.received == 0 and count:
            crowd.first_delays.append(now - self.requested_at)
        if crowd.pace is not None:
            crowd.delays += [now - sent_at for sent_at in self.sent_at[self.received : self.received + count]]
        self.received += count
        crowd.passed += count
        if crowd.pace is None and self.sent == self.received < self.events:
            crowd.do_in_turn(self._send_next)

    def _send_next(self) -> None:
        assert self.send is not None
        self.sent += 1
        is_last = self.sent == self.events
        crowd = self.crowd
        if crowd.pace is not None:
            self.sent_at.append(time.perf_counter())
            if not is_last:
                crowd.loop.call_later(crowd.pace, crowd.do_in_turn, self._send_next)
        self.send(LAST_EVENT if is_last else EVENTS[self.sent % len(EVENTS)], is_last)


class EventCounter:
    """Counts the ends of events in bytes that may be split anywhere."""

    def __init__(self) -> None:
        self._ends_in_newline = False

    def count(self, data: bytes) -> int:
        count = data.count(b"\n\n") + (self._ends_in_newline and data.startswith(b"\n"))
        self._ends_in_newline = data.endswith(b"\n")
        return count


class Crowd:
    """Clients that send the next request as soon as they have a response, while it is their turn."""

    def __init__(self, exchanges: dict[int, Exchange], clients: int, events: int, pace: float | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.events = events
        self.pace = pace
        #: Events that have arrived (of responses without streaming, one each), and exchanges that have ended.
        self.passed = 0
        self.ended = 0
        self.delays: list[float] = []
        self.first_delays: list[float] = []
        #: The first thing that went wrong with an exchange.
        self.failure: str | None = None
        self._exchanges = exchanges
        self._clients = clients
        self._is_on = False
        self._waiting: list[Callable[[], None]] = []

    @property
    def is_busy(self) -> bool:
        """Whether some clients do not wait for their turn yet."""
        return len(self._waiting) < self._clients

    def forget_delays(self) -> None:
        self.delays, self.first_delays = [], []

    def turn(self, *, on: bool) -> None:
        self._is_on = on
        if on:
            waiting, self._waiting = self._waiting, []
            for step in waiting:
                step()

    def do_in_turn(self, step: Callable[[], None]) -> None:
        """Do a step now, or when this crowd has its turn again."""
        if self._is_on:
            step()
        else:
            self._waiting.append(step)

    def new_exchange(self, first_events: int | None = None) -> tuple[Exchange, bytes]:
        """Return an exchange and the body of its request.

        `first_events` makes a client's first response shorter or longer, so that the clients get out of step.
        """
        # No number is used twice, so that bytes a proxy still holds of an earlier crowd belong to their own exchange.
        number = len(self._exchanges)
        events = first_events if first_events is not None and self.events else self.events
        exchange = self._exchanges[number] = Exchange(self, events, time.perf_counter())
        return exchange, request_body(number, streamed=bool(events))

    def end(self, *, is_whole: bool) -> None:
        """Note that an exchange has ended."""
        self.ended += 1
        if not is_whole:
            self.failure = self.failure or "a response was not whole"


def request_body(number: int, *, streamed: bool) -> bytes:
    """Return the body of request `number`; all have the same length."""
    text = f"{_MARK.decode()}{number:0{_DIGITS}} What follows from what was said before, and what does not?"
    system = "You answer in one short paragraph, without lists, and say what you do not know."
    body = {
        "model": MODEL,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}],
        "temperature": 0.2,
    }
    return json.dumps(body | ({"stream": True} if streamed else {})).encode()


def request_number(body: bytes | bytearray) -> int:
    """Read the number of a request from its body."""
    start = body.index(_MARK) + 1
    return int(body[start : start + _DIGITS])


def request_head(host: str, length: int) -> bytes:
    """Return the head of an HTTP/1.1 request, as an SDK writes it."""
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        "User-Agent: OpenAI/Python 3.0.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Runtime: CPython\r\n"
        f"Authorization: Bearer sk-bench-0123456789abcdef0123456789abcdef\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
