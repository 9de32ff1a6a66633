"""A provider that responds with the text of each request, and can ask clients for patience."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from email.message import Message
from typing import Any

from tests.support.clients.wire import DONE, FINISH, event
from tests.support.journals.journals import MadeUp
from tests.support.servers.scripted import Conversation, ScriptedServer


class EchoProvider(ScriptedServer):
    """Responds with the text of each request, and keeps the requests; of new ones it refuses every `refuse_each`-th."""

    def __init__(self, refuse_each: int = 0, **retry_headers: str) -> None:
        super().__init__(self._answer)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Message] = []
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.times: dict[str, list[float]] = {}
        self._refuse_each = refuse_each
        self._retry_headers = retry_headers
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    @property
    def base(self) -> str:
        return f"{self.url}/v1"

    def answered(self) -> int:
        """Return the number of requests that were not refused."""
        with self._lock:
            return sum(count for (_, status), count in self.statuses.items() if status == 200)

    def _answer(self, conversation: Conversation) -> None:
        body = json.loads(conversation.read_body())
        text = json.dumps(body["messages"][-1]["content"])
        with self._lock:
            self.requests.append(body)
            self.headers.append(conversation.headers)
            self.times.setdefault(text, []).append(time.monotonic())
            is_new = text not in self._seen
            self._seen.add(text)
            refused = bool(self._refuse_each) and is_new and len(self._seen) % self._refuse_each == 0
            self.statuses[text, 429 if refused else 200] += 1
        if refused:
            conversation.answer(b'{"error": {"message": "slowly"}}', status=429, **self._retry_headers)
        elif body.get("stream"):
            conversation.start()
            for part in (event("Hel"), event("lo"), FINISH, DONE):
                conversation.send(part)
            conversation.end()
        else:
            conversation.answer(MadeUp(text=f"You said {text}", model=body["model"]).response)
