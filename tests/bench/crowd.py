"""Many clients at once and the provider that they ask, in one event loop that does as little as can be done.

The provider sends an event when its client has the one before, so that each event passes a proxy alone, however quick
or slow the proxy is: what is measured is the same work on both sides. With a pace it sends by the clock instead. Both
ends share this process, and with it one clock and the knowledge of what was sent: a delay is what lies between.

Several crowds run side by side, one a proxy under test. Only those whose turn it is go on; the others hold their
streams open and cost nothing.
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
class Answer:
    """One answer while it passes."""

    crowd: Crowd
    #: Events that it has; none for an answer that comes as a whole.
    events: int
    asked_at: float
    #: Called by its client's end with what has come, and by the provider's.
    send: Callable[[bytes, bool], None] | None = None
    sent: int = 0
    received: int = 0
    sent_at: list[float] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the client has all events, and the `[DONE]` after the last."""
        return self.received == self.events + 1

    def begin(self, send: Callable[[bytes, bool], None]) -> None:
        """The provider has the request whole."""
        self.send = send
        if not self.events:
            send(COMPLETION, True)
        else:
            self._send_next()

    def take(self, count: int) -> None:
        """The client has so many events more."""
        crowd, now = self.crowd, time.perf_counter()
        if self.received == 0 and count:
            crowd.first_delays.append(now - self.asked_at)
        if crowd.pace is not None:
            crowd.delays += [now - sent_at for sent_at in self.sent_at[self.received : self.received + count]]
        self.received += count
        crowd.passed += count
        if crowd.pace is None and self.sent == self.received < self.events:
            crowd.go_on(self._send_next)

    def _send_next(self) -> None:
        assert self.send is not None
        self.sent += 1
        is_last = self.sent == self.events
        crowd = self.crowd
        if crowd.pace is not None:
            self.sent_at.append(time.perf_counter())
            if not is_last:
                crowd.loop.call_later(crowd.pace, crowd.go_on, self._send_next)
        self.send(LAST_EVENT if is_last else EVENTS[self.sent % len(EVENTS)], is_last)


class EventCounter:
    """Counts the ends of events in bytes that may be cut anywhere."""

    def __init__(self) -> None:
        self._ends_in_newline = False

    def count(self, data: bytes) -> int:
        count = data.count(b"\n\n") + (self._ends_in_newline and data.startswith(b"\n"))
        self._ends_in_newline = data.endswith(b"\n")
        return count


class Crowd:
    """So many clients that ask again as soon as they have an answer, while it is their turn."""

    def __init__(self, answers: dict[int, Answer], clients: int, events: int, pace: float | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.events = events
        self.pace = pace
        #: Events that have come, and answers that have come whole.
        self.passed = 0
        self.ended = 0
        self.delays: list[float] = []
        self.first_delays: list[float] = []
        #: What went wrong with an answer, if anything did.
        self.failure: str | None = None
        self._answers = answers
        self._clients = clients
        self._is_on = False
        self._waiting: list[Callable[[], None]] = []

    @property
    def is_under_way(self) -> bool:
        """Whether something has still to come before all clients wait for their turn."""
        return len(self._waiting) < self._clients

    def forget_delays(self) -> None:
        self.delays, self.first_delays = [], []

    def turn(self, *, on: bool) -> None:
        self._is_on = on
        if on:
            waiting, self._waiting = self._waiting, []
            for step in waiting:
                step()

    def go_on(self, step: Callable[[], None]) -> None:
        """Do it now, or when it is this crowd's turn again."""
        if self._is_on:
            step()
        else:
            self._waiting.append(step)

    def ask(self, first_events: int | None = None) -> tuple[Answer, bytes]:
        """A new question; of the first ones the answers differ in length, so that clients get out of step."""
        # Numbers are never used again: what a proxy still holds of an earlier crowd finds its own answer.
        number = len(self._answers)
        events = first_events if first_events is not None and self.events else self.events
        answer = self._answers[number] = Answer(self, events, time.perf_counter())
        return answer, question(number, streamed=bool(events))

    def end(self, answer: Answer, *, whole: bool, why: str = "it did not come whole") -> None:
        """An answer's end has come."""
        self.ended += 1
        if not whole:
            self.failure = self.failure or why


def question(number: int, *, streamed: bool) -> bytes:
    """The body of question `number`: always as long."""
    text = f"{_MARK.decode()}{number:0{_DIGITS}} What follows from what was said before, and what does not?"
    system = "You answer in one short paragraph, without lists, and say what you do not know."
    body = {
        "model": MODEL,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}],
        "temperature": 0.2,
    }
    return json.dumps(body | ({"stream": True} if streamed else {})).encode()


def number_of(body: bytes | bytearray) -> int:
    """Which question it is."""
    start = body.index(_MARK) + 1
    return int(body[start : start + _DIGITS])


def request_head(host: str, length: int) -> bytes:
    """The head of an HTTP/1.1 request, as an SDK writes it."""
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        "User-Agent: OpenAI/Python 3.0.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Runtime: CPython\r\n"
        f"Authorization: Bearer sk-bench-0123456789abcdef0123456789abcdef\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
