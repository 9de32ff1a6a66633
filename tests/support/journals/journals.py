"""Writes journals as a recorder does, with exchanges made up for the test."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapeline.addons.tapeline_recorder.capture import uuid7
from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import open_journal
from tapeline.addons.tapeline_recorder.journal_writer import JournalWriter
from tapeline.addons.tapeline_recorder.recorder_files import RecorderFiles

# 2026-11-21T10:00:00Z
NOON_US = 1_795_255_200_000_000
DAY_US = 86_400_000_000
WRITTEN_SECONDS = 60.0


@dataclass
class MadeUp:
    """One exchange: what was asked, what was answered, and whether it ended."""

    content: str = "Hello!"
    model: str = "gpt-4o-mini"
    started_at_us: int = NOON_US
    messages: list[Any] = field(default_factory=list)
    text: str = "Hi."
    finish_reason: str | None = "stop"
    usage: dict[str, Any] | None = field(default_factory=lambda: {"prompt_tokens": 3, "completion_tokens": 2})
    ended: bool = True
    host: str = "api.openai.com"
    port: int = 443
    #: Fields of the request, and of the answer, beside those above.
    params: dict[str, Any] = field(default_factory=dict)
    answered: dict[str, Any] = field(default_factory=dict)
    #: What was answered instead, whatever it is.
    body: bytes | None = None
    #: What was asked instead.
    asked: bytes | None = None
    status: int = 200
    content_type: str = "application/json"
    headers: list[list[str]] = field(default_factory=list)
    #: Microseconds from the start: the answer's body came, the exchange ended.
    answered_us: int = 150_000
    ended_us: int = 200_000
    #: What came when, where it came in pieces: microseconds from the start, bytes.
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    #: A new one if not given.
    exchange_id: str = ""
    #: What the journal says otherwise of the request, and of the end.
    head: dict[str, Any] = field(default_factory=dict)
    ending: dict[str, Any] = field(default_factory=dict)

    @property
    def request(self) -> bytes:
        if self.asked is not None:
            return self.asked
        messages = self.messages or [{"role": "user", "content": self.content}]
        return json.dumps({"model": self.model, "messages": messages, **self.params}).encode()

    @property
    def response(self) -> bytes:
        if self.body is not None:
            return self.body
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        completion = {"id": "chatcmpl-1", "object": "chat.completion", "model": self.model, "choices": [choice]}
        usage = {"usage": self.usage} if self.usage else {}
        return json.dumps({**completion, **self.answered, **usage}).encode()


@contextmanager
def recording(root: Path, recorder_id: str = "recorder-1", run: str = "run-1", **about: str) -> Iterator[JournalWriter]:
    """A recorder's journal, held open as a living recorder holds it."""
    about |= {"recorder_id": recorder_id, "run": run}
    writer = JournalWriter(RecorderFiles(DataDirectory(root), about))
    try:
        yield writer
    finally:
        assert writer.close()


def write_exchanges(
    writer: JournalWriter, exchanges: Iterable[MadeUp], first_number: int = 1, run: str = "run-1"
) -> list[str]:
    """Queue exchanges as a recorder does; gives their ids."""
    ids = []
    for number, exchange in enumerate(exchanges, first_number):
        exchange_id = exchange.exchange_id or uuid7(exchange.started_at_us * 1000)
        ids.append(exchange_id)
        writer.add("head", number, _head(exchange_id, exchange, run))
        writer.add("request", number, (10, exchange.request))
        writer.add(
            "answer",
            number,
            {
                "status_code": exchange.status,
                "http_version": "HTTP/1.1",
                "headers": [["content-type", exchange.content_type], *exchange.headers],
                "request_sent_us": 20,
                "response_headers_us": min(100_000, exchange.answered_us),
            },
        )
        for piece in exchange.pieces or [(exchange.answered_us, exchange.response)]:
            writer.add("response", number, piece)
        if exchange.ended:
            writer.add("ending", number, {"how": "response", "ended_us": exchange.ended_us} | exchange.ending)
    return ids


def wait_until_written(root: Path, exchanges: int, losses: int = 0, recorder_id: str = "recorder-1") -> None:
    """Wait until the writer's thread has written so many exchanges with all that was queued before it looked."""
    deadline = time.monotonic() + WRITTEN_SECONDS
    with closing(open_journal(DataDirectory(root).journal(recorder_id))) as connection:
        sql = "SELECT (SELECT count(*) FROM exchange), (SELECT count(*) FROM loss)"
        while (counts := connection.execute(sql).fetchone()) != (exchanges, losses):
            assert time.monotonic() < deadline, counts
            time.sleep(0.02)


def wait_until_kept(root: Path, response_bytes: int) -> None:
    """Wait until the journals of running recorders hold so many bytes of responses: a kill leaves those.

    Bytes over the limit of a body count, too.
    """
    sizes = "SELECT coalesce(sum(value ->> 1), 0) FROM piece, json_each(chunks) WHERE part = 'response'"
    _wait_for_sum(root, sizes, response_bytes)


def wait_until_counted(root: Path, exchanges: int) -> None:
    """Wait until the journals of running recorders count so many lost exchanges."""
    _wait_for_sum(root, "SELECT coalesce(sum(exchanges), 0) FROM loss", exchanges)


def _wait_for_sum(root: Path, sql: str, expected: int) -> None:
    deadline = time.monotonic() + WRITTEN_SECONDS
    while (present := sum(_number(path, sql) for path in (root / "journal").glob("*.sqlite"))) < expected:
        assert time.monotonic() < deadline, present
        time.sleep(0.02)


def _number(journal: Path, sql: str) -> int:
    with closing(open_journal(journal)) as connection:
        number: int = connection.execute(sql).fetchone()[0]
        return number


def make_journal(
    root: Path, exchanges: Iterable[MadeUp], recorder_id: str = "recorder-1", run: str = "run-1", **about: str
) -> None:
    """The journal of a recorder that is gone."""
    with recording(root, recorder_id, run, **about) as writer:
        write_exchanges(writer, exchanges, run=run)


def _head(exchange_id: str, exchange: MadeUp, run: str) -> dict[str, Any]:
    return {
        "exchange_id": exchange_id,
        "run": run,
        "started_at_us": exchange.started_at_us,
        "mode": "regular",
        "scheme": "https",
        "host": exchange.host,
        "port": exchange.port,
        "path": "/v1/chat/completions",
        "http_version": "HTTP/1.1",
        "headers": [["content-type", "application/json"], ["user-agent", "test/1"]],
        "api_key_id": None,
    } | exchange.head
