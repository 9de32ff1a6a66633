"""A provider that responds with the text of each request, and can ask clients for patience."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import suppress
from email.message import Message
from typing import Any

from tests.support.clients.wire import DONE, FINISH, event
from tests.support.journals.journals import MadeUp
from tests.support.servers.scripted import WAIT_SECONDS, Conversation, ScriptedServer


class EchoProvider(ScriptedServer):
    """Responds with the text of each request, and keeps the requests; of new ones it refuses every `refuse_each`-th.

    After `answers_at_first` responses it sets `waits`, and sends no other before `goes_on` is set.
    """

    def __init__(self, refuse_each: int = 0, answers_at_first: int | None = None, **retry_headers: str) -> None:
        super().__init__(self._answer)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Message] = []
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.times: dict[str, list[float]] = {}
        self.waits, self.goes_on = threading.Event(), threading.Event()
        self._refuse_each = refuse_each
        self._answers_at_first = answers_at_first
        self._retry_headers = retry_headers
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    @property
    def base(self) -> str:
        return f"{self.url}/v1"

    def answered(self) -> int:
        """Return the number of requests that were not refused."""
        with self._lock:
            return self._answered()

    def _answer(self, conversation: Conversation) -> None:
        body = json.loads(conversation.read_body())
        text = json.dumps(body["messages"][-1]["content"])
        with self._lock:
            self.requests.append(body)
            self.headers.append(conversation.headers)
            self.times.setdefault(text, []).append(time.monotonic())
            is_new = text not in self._seen
            self._seen.add(text)
            is_refused = bool(self._refuse_each) and is_new and len(self._seen) % self._refuse_each == 0
            self.statuses[text, 429 if is_refused else 200] += 1
            has_to_wait = self._answers_at_first is not None and self._answered() > self._answers_at_first
        if is_refused:
            conversation.answer(b'{"error": {"message": "slowly"}}', status=429, **self._retry_headers)
        elif has_to_wait:
            self.waits.set()
            assert self.goes_on.wait(WAIT_SECONDS)
            with suppress(ConnectionError):
                _echo(conversation, body, text)
        else:
            _echo(conversation, body, text)

    def _answered(self) -> int:
        return sum(count for (_, status), count in self.statuses.items() if status == 200)


def _echo(conversation: Conversation, body: dict[str, Any], text: str) -> None:
    if body.get("stream"):
        conversation.start()
        for part in (event("Hel"), event("lo"), FINISH, DONE):
            conversation.send(part)
        conversation.end()
    else:
        conversation.answer(MadeUp(text=f"You said {text}", model=body["model"]).response)
