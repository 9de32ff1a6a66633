"""Three kinds of traffic to store: short chats, an agent that sends its whole history each turn, and images.

All of it comes from a fixed seed, and passes through each program that stores it.
"""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from tests.bench.crowd import MODEL
from tests.support.clients.wire import PATH

_VOWELS, _CONSONANTS = "aeiou", "bcdfglmnprstv"
_EVENT_WORDS = 2
IMAGE_BYTES = 300_000
TOOLS_BYTES = 30_000
Message = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """A request and the text of its response."""

    messages: list[Message]
    text: str
    tools: list[Message] | None = None

    def request(self) -> bytes:
        body = {"model": MODEL, "messages": self.messages, "stream": True, "temperature": 0.2}
        return json.dumps(body | ({"tools": self.tools} if self.tools else {})).encode()

    def events(self, number: int) -> list[bytes]:
        """Return the events of the response, a few words each."""
        words = self.text.split(" ")
        pieces = [" ".join(words[at : at + _EVENT_WORDS]) + " " for at in range(0, len(words), _EVENT_WORDS)]
        deltas: list[tuple[Message, str | None]] = [({"content": piece}, None) for piece in pieces]
        return [_event(number, delta, finish) for delta, finish in (*deltas, ({}, "stop"))] + [b"data: [DONE]\n\n"]


def _event(number: int, delta: Message, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    about = {"id": f"chatcmpl-{number:024x}", "object": "chat.completion.chunk", "created": 1790000000 + number}
    event = about | {"model": MODEL, "system_fingerprint": "fp_0123456789", "choices": [choice]}
    if finish:
        event["usage"] = {"prompt_tokens": 100 + number, "completion_tokens": 80, "total_tokens": 180 + number}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


class Words:
    """Makes text with words as frequent as in natural languages, by Zipf's law: about ten bits a word."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        make = self.random.choice
        self._vocabulary = [
            "".join(make(_CONSONANTS) + make(_VOWELS) for _ in range(self.random.randint(1, 4))) for _ in range(8000)
        ]
        self._weights = list(accumulate(1 / (rank + 2.7) for rank in range(len(self._vocabulary))))

    def text(self, count: int) -> str:
        return " ".join(self.random.choices(self._vocabulary, cum_weights=self._weights, k=count))


def short_chats(count: int) -> list[Call]:
    """Return conversations of one request each, with the same system prompt."""
    words = Words(1)
    system = {"role": "system", "content": words.text(60)}
    return [Call([system, {"role": "user", "content": words.text(40)}], words.text(80)) for _ in range(count)]


def agent(turns: int) -> list[Call]:
    """Return one conversation; each turn sends everything before it, and the tools."""
    words = Words(2)
    tools: list[Message] = []
    while len(json.dumps(tools)) < TOOLS_BYTES:
        parameters = {words.text(1): {"type": "string", "description": words.text(12)} for _ in range(6)}
        function = {"name": words.text(1), "description": words.text(40)}
        schema = {"type": "object", "properties": parameters}
        tools.append({"type": "function", "function": {**function, "parameters": schema}})
    history: list[Message] = [{"role": "system", "content": words.text(400)}]
    calls = []
    for _ in range(turns):
        history = [*history, {"role": "user", "content": words.text(100)}]
        text = words.text(60)
        calls.append(Call(history, text, tools))
        history = [*history, {"role": "assistant", "content": text + " "}]
    return calls


def images(conversations: int, turns: int = 5) -> list[Call]:
    """Return conversations that all begin with the same image, which each turn sends."""
    words = Words(3)
    data = base64.b64encode(words.random.randbytes(IMAGE_BYTES)).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    calls = []
    for _ in range(conversations):
        history: list[Message] = [{"role": "user", "content": [{"type": "text", "text": words.text(10)}, image]}]
        for _ in range(turns):
            text = words.text(40)
            calls.append(Call(history, text))
            history = [*history, {"role": "assistant", "content": text + " "}]
            history = [*history, {"role": "user", "content": words.text(20)}]
    return calls


@contextmanager
def providing(calls: list[Call]) -> Iterator[str]:
    """Run a provider that responds to these calls in their order; yields its address."""
    numbers = iter(range(len(calls)))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Small writes would wait for the other side's acknowledgements, 40 ms each.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            number = next(numbers)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in calls[number].events(number):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def pass_through(port: int, calls: list[Call], check: Callable[[bool], None]) -> None:
    """Make the calls through a proxy over one connection; `check` gets whether each response arrived unchanged."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for number, call in enumerate(calls):
        connection.request("POST", PATH, call.request(), {"Content-Type": "application/json"})
        check(connection.getresponse().read() == b"".join(call.events(number)))
    connection.close()
