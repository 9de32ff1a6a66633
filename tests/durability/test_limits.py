"""Limits: a body over its limit passes whole, its start is kept, and what is missing is said."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients.wire import DONE, FINISH, KEY, PATH, ask, chat, event, open_road
from tests.support.journals.journals import wait_until_kept
from tests.support.processes.recorder import query, tapeline
from tests.support.servers.scripted import Conversation, Turns

pytestmark = pytest.mark.slow

LIMIT = 2_000
WORDS = [event(f"{number} ") for number in range(100)]
STREAM = b"".join(WORDS) + FINISH + DONE
WHOLE = b'{"choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}'
LARGE = b'{"choices":[{"index":0,"message":{"content":"%b"},"finish_reason":"stop"}]}' % (b"x" * 3 * LIMIT)
COLUMNS = "outcome, outcome_detail, reassembly_problems, request_bytes, response_bytes, choices[1].content AS text"


def answer_as_asked(conversation: Conversation) -> None:
    body = conversation.read_body()
    if b"large" in body:
        conversation.answer(LARGE)
    elif b'"stream": true' in body:
        conversation.start()
        for word in WORDS:
            conversation.send(word)
        conversation.send(FINISH + DONE)
        conversation.end()
    else:
        conversation.answer(WHOLE)


def record(data: Path, authority: Path, body: bytes) -> tuple[bytes, dict[str, Any]]:
    """What the client read of the answer, and the exchange's row."""
    with (
        open_road("plain", data, answer_as_asked, authority, "--max-body", str(LIMIT)) as road,
        closing(road.connect()) as connection,
    ):
        status, answer = ask(connection, body)
        assert status == 200
    (row,) = query(data, f"SELECT {COLUMNS} FROM exchanges")
    return answer, row


def test_a_request_over_the_limit(data: Path, authority: Path) -> None:
    body = chat(text="x" * LIMIT)
    answer, row = record(data, authority, body)
    assert answer == WHOLE
    cut = f"request truncated by limit: its first {LIMIT:,} bytes are kept"
    assert (row["outcome"], row["outcome_detail"], row["reassembly_problems"]) == ("complete", cut, [cut])
    assert (row["request_bytes"], row["response_bytes"]) == (len(body), len(WHOLE))
    assert query(data, "SELECT request_text FROM exchanges") == [{"request_text": body[:LIMIT].decode()}]
    assert query(data, "SELECT reason, exchanges, bytes FROM losses") == [
        {"reason": "over tapeline_max_body", "exchanges": 1, "bytes": len(body) - LIMIT}
    ]
    assert "NOT RECORDED: 1" in tapeline("report", "usage", "--data", data).stdout


def test_a_stream_over_the_limit(data: Path, authority: Path) -> None:
    answer, row = record(data, authority, chat(stream=True))
    assert answer == STREAM
    assert row["outcome"] == "truncated"
    assert row["outcome_detail"] == f"answer truncated by limit: its first {LIMIT:,} bytes are kept"
    assert row["reassembly_problems"][0] == row["outcome_detail"]
    assert row["response_bytes"] == len(STREAM)
    kept = LIMIT // len(WORDS[0])
    assert row["text"].startswith("".join(f"{number} " for number in range(kept - 2)))
    assert len(row["text"]) < LIMIT


def test_an_answer_without_streaming_over_the_limit(data: Path, authority: Path) -> None:
    answer, row = record(data, authority, chat("large"))
    assert answer == LARGE
    assert row["outcome"] == "truncated"
    assert "answer truncated by limit" in row["outcome_detail"]
    assert row["response_bytes"] == len(LARGE)
    assert query(data, "SELECT response_text FROM exchanges") == [{"response_text": LARGE[:LIMIT].decode()}]


def test_a_body_of_the_limits_size_is_kept_whole(data: Path, authority: Path) -> None:
    body = chat(text="x" * (LIMIT - len(chat(text=""))))
    assert len(body) == LIMIT
    _, row = record(data, authority, body)
    assert (row["outcome"], row["outcome_detail"], row["reassembly_problems"]) == ("complete", None, [])
    assert query(data, "SELECT * FROM losses") == []


def test_a_kill_of_the_recorder_leaves_what_was_over_the_limit_counted(data: Path, authority: Path) -> None:
    kept = Turns()

    def send_and_wait(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start()
        conversation.send(b"".join(WORDS))
        kept.take()

    with (
        open_road("plain", data, send_and_wait, authority, "--max-body", str(LIMIT)) as road,
        closing(road.connect()) as connection,
    ):
        connection.request("POST", PATH, chat(stream=True), {"Authorization": KEY})
        response = connection.getresponse()
        read = b""
        while len(read) < len(b"".join(WORDS)):
            read += response.read1()
        wait_until_kept(data, len(read))
        road.recorder.process.kill()
        road.recorder.process.wait()
        kept.give()
    (row,) = query(data, f"SELECT {COLUMNS} FROM exchanges")
    assert (row["outcome"], row["response_bytes"]) == ("recorder_stopped", len(read))
    assert "truncated by limit" in row["outcome_detail"]
    assert query(data, "SELECT sum(exchanges) AS n, sum(bytes) AS bytes FROM losses") == [
        {"n": 1, "bytes": len(read) - LIMIT}
    ]


def test_a_limit_that_is_no_number_is_refused(data: Path) -> None:
    for setting in ("tapeline_max_body=-1", "tapeline_max_body=much"):
        result = tapeline("record", "--data", data, "--set", setting, "--", "true")
        assert result.returncode == 2
        assert "tapeline_max_body" in result.stderr


def test_the_recorder_may_open_as_many_files_as_the_system_lets_it(data: Path, authority: Path) -> None:
    with open_road("plain", data, answer_as_asked, authority) as road:
        limits = Path(f"/proc/{road.recorder.process.pid}/limits")
        if not limits.exists():
            pytest.skip("this system does not show a process's limits in /proc")
        (line,) = [line for line in limits.read_text().splitlines() if line.startswith("Max open files")]
        soft, hard = line.split()[3:5]
        assert soft == hard or int(soft) >= 65_536
