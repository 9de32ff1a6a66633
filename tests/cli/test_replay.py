"""`tapeline replay`: recorded requests go out again, as they were, and their answers are a recording of their own."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from email.message import Message
from email.utils import format_datetime
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest

from tapeline.pipeline.playback.sender import MAX_ATTEMPTS, requested_wait
from tests.support.clients.wire import DONE, FINISH, event
from tests.support.journals.journals import NOON_US, MadeUp, make_journal
from tests.support.processes.recorder import TAPELINE as TAPELINE_COMMAND
from tests.support.processes.recorder import RunningRecorder, clean_environment, query, tapeline, tapeline_here
from tests.support.servers.scripted import Conversation, ScriptedServer

pytestmark = pytest.mark.slow

IMAGE = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 8).decode()
COUNT, CONCURRENCY = 1000, 16


class Provider(ScriptedServer):
    """Answers with what it was asked; every so-many-th request it refuses at first. It notes what came."""

    def __init__(self, refuse_each: int = 0, **patience: str) -> None:
        super().__init__(self._answer)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Message] = []
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.times: dict[str, list[float]] = {}
        self._refuse_each = refuse_each
        self._patience = patience
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    @property
    def base(self) -> str:
        return f"{self.url}/v1"

    def answered(self) -> int:
        with self._lock:
            return sum(count for (_, status), count in self.statuses.items() if status == 200)

    def _answer(self, conversation: Conversation) -> None:
        body = json.loads(conversation.read_body())
        text = json.dumps(body["messages"][-1]["content"])
        with self._lock:
            self.asked.append(body)
            self.headers.append(conversation.headers)
            self.times.setdefault(text, []).append(time.monotonic())
            is_new = text not in self._seen
            self._seen.add(text)
            refused = bool(self._refuse_each) and is_new and len(self._seen) % self._refuse_each == 0
            self.statuses[text, 429 if refused else 200] += 1
        if refused:
            conversation.answer(b'{"error": {"message": "slowly"}}', status=429, **self._patience)
        elif body.get("stream"):
            conversation.start()
            for part in (event("Hel"), event("lo"), FINISH, DONE):
                conversation.send(part)
            conversation.end()
        else:
            conversation.answer(MadeUp(text=f"You said {text}", model=body["model"]).response)


def replay(data: Path, run: str, upstream: str, *options: str, key: str = "sk-test-key") -> list[str]:
    """Replay to a good end; gives the lines of stderr."""
    result = tapeline(
        "replay", run, "--upstream", upstream, "--data", data, *options, environment=environment(key), timeout=100
    )
    assert result.returncode == 0, result.stderr
    return result.stderr.splitlines()


def environment(key: str = "sk-test-key") -> dict[str, str]:
    return clean_environment() | {"OPENAI_API_KEY": key}


def rows_of(data: Path, run: str) -> list[dict[str, Any]]:
    return query(data, f"SELECT * FROM exchanges WHERE run = '{run}' ORDER BY started_at, exchange_id")


def made_up(count: int) -> list[MadeUp]:
    return [MadeUp(content=f"Question {number}", started_at_us=NOON_US + number * 1000) for number in range(count)]


# What is sent.


def test_requests_go_out_as_they_were_and_are_recorded_anew(data: Path) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    with Provider() as provider:
        with RunningRecorder(data, "--run", "before", "--upstream", provider.url) as recorder:
            for body in (
                {
                    "model": "m",
                    "messages": [{"role": "user", "content": parts}],
                    "temperature": 0.70,
                    "x_own": {"a": 1},
                },
                {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "tools": [{"n": 1}]},
            ):
                subprocess.run(
                    ["curl", "-sS", f"{recorder.address}/v1/chat/completions", "-H", "openai-beta: x", "-d", "@-"],
                    input=json.dumps(body).encode(),
                    capture_output=True,
                    check=True,
                )
        sent = list(provider.asked)
        provider.asked.clear()
        replay(data, "before", provider.base, "--run", "after", "--concurrency", "1")
        assert provider.asked == sent
        assert provider.headers[-1]["Authorization"] == "Bearer sk-test-key"
        assert provider.headers[-1]["OpenAI-Beta"] == "x"
    before, after = rows_of(data, "before"), rows_of(data, "after")
    assert len(before) == len(after) == 2
    for one, other in zip(before, after, strict=True):
        for name in (
            "request_fingerprint",
            "message_ids",
            "tools_id",
            "request_params",
            "choices",
            "streamed",
            "outcome",
        ):
            assert other[name] == one[name], name
        mark = next(header for header in other["request_headers"] if header["name"] == "x-client-request-id")
        assert one["exchange_id"] in mark["value"]


def test_parameters_are_changed_and_all_is_repeated(data: Path) -> None:
    make_journal(data, made_up(2), run="before")
    with Provider() as provider:
        options = ("--model", "other", "--set", "temperature=0", "--set", "user=me", "--set", 'stop=["x"]')
        replay(data, "before", provider.base, "--run", "after", "--repeat", "3", "--concurrency", "1", *options)
    changed = {"model": "other", "temperature": 0, "user": "me", "stop": ["x"]}
    assert all(body.items() >= changed.items() for body in provider.asked)
    contents = [body["messages"][0]["content"] for body in provider.asked]
    assert contents == ["Question 0", "Question 1"] * 3
    assert len(rows_of(data, "after")) == 6


def test_the_recorded_timing_is_kept(data: Path) -> None:
    pauses = [MadeUp(content=str(number), started_at_us=NOON_US + number * 4_000_000) for number in range(3)]
    make_journal(data, pauses, run="before")
    with Provider() as provider:
        replay(data, "before", provider.base, "--run", "after", "--speed", "10")
    first, second, third = (provider.times[json.dumps(str(number))][0] for number in range(3))
    # Ten times as fast as four seconds; how much later is the machine's business.
    assert second - first > 0.3
    assert third - first > 0.7


def test_what_is_not_whole_is_refused_by_name(data: Path) -> None:
    secret = "Use ghp_" + "a1B2" * 9
    make_journal(data, [MadeUp(), MadeUp(content=secret)], "recorder-1", "before")
    make_journal(data, [MadeUp(content="Kept nowhere")], "recorder-2", "before", content="none")
    redacted, withheld = query(
        data,
        "SELECT exchange_id FROM exchanges WHERE request_redactions > 0 OR NOT content_kept ORDER BY content_kept DESC",
    )
    with Provider() as provider:
        said = replay(data, "before", provider.base, "--run", "after")
        assert [body["messages"][0]["content"] for body in provider.asked] == ["Hello!"]
    assert f"Not sent: {redacted['exchange_id']}: names stand for credentials in it, 1 times." in said
    assert f"Not sent: {withheld['exchange_id']}: it was recorded without content." in said


def test_content_that_is_lost_is_missed(data: Path) -> None:
    make_journal(data, [MadeUp()], run="before")
    query(data, "SELECT 1 AS one")
    for path in (data / "content").rglob("*.parquet"):
        path.unlink()
    (data / "warehouse.duckdb").unlink()
    result = tapeline_here("replay", "before", "--upstream", "http://127.0.0.1:9/v1", "--data", data, "--dry-run")
    assert result.returncode == 2
    assert "messages or tools of it are not in the dataset" in result.stderr


def test_requests_that_were_made_again_go_out_once(data: Path) -> None:
    with Provider(refuse_each=1, retry_after_ms="0") as provider:
        make_journal(data, made_up(1), run="before")
        replay(data, "before", provider.base, "--run", "limited")
        assert [row["status_code"] for row in rows_of(data, "limited")] == [429, 200]
        provider.asked.clear()
        said = replay(data, "limited", provider.base, "--run", "after")
    assert len(provider.asked) == 1
    assert "Not sent: 1 that the server did not take on and that were made again." in said


def test_a_dry_run_sends_nothing_and_counts(data: Path) -> None:
    make_journal(data, [*made_up(3), MadeUp(model="b", usage=None, started_at_us=NOON_US + 9)], run="before")
    arguments = (
        "replay",
        "before",
        "--upstream",
        "http://127.0.0.1:9/v1",
        "--data",
        data,
        "--dry-run",
        "--repeat",
        "2",
    )
    result = tapeline_here(*arguments, "--format", "json")
    assert result.returncode == 0, result.stderr
    columns = ("model", "requests", "prompt_tokens", "completion_tokens", "usage_reported_by", "cost_usd", "priced")
    # 15 cents for a million tokens asked, 60 for a million answered.
    assert [tuple(row[name] for name in columns) for row in json.loads(result.stdout)["rows"]] == [
        ("b", 2, None, None, 0, None, 0),
        ("gpt-4o-mini", 6, 18, 12, 6, pytest.approx(18 * 0.15e-6 + 12 * 0.60e-6), 6),
    ]
    dearer = tapeline_here(*arguments, "--format", "json", "--model", "openai/gpt-4o").stdout
    (row,) = json.loads(dearer)["rows"]
    assert (row["requests"], row["cost_usd"], row["priced"]) == (8, pytest.approx(18 * 2.5e-6 + 12 * 10e-6), 6)
    unknown = tapeline_here(*arguments, "--format", "json", "--model", "qwen3")
    assert (json.loads(unknown.stdout)["rows"][0]["cost_usd"], unknown.returncode) == (None, 0)
    assert "--model qwen3" in unknown.stderr
    assert "8 requests would be sent and 0 cannot be" in tapeline_here(*arguments).stdout
    assert query(data, "SELECT DISTINCT run FROM exchanges") == [{"run": "before"}]


def test_the_key_is_in_no_file(data: Path) -> None:
    make_journal(data, made_up(1), run="before")
    key = "sk-" + "0123456789abcdef" * 2
    with Provider() as provider:
        replay(data, "before", provider.base, "--run", "after", key=key)
        assert provider.headers[-1]["Authorization"] == f"Bearer {key}"
    assert not [path for path in data.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--run", "before"], "into itself"),
        (["--resume"], "--resume needs --run"),
        (["--run", "taken"], "go on with it by --resume"),
        (["--set", "temperature"], "is no NAME=VALUE"),
        (["--upstream", "ftp://x"], "is no http or https URL"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(data: Path, options: list[str], word: str) -> None:
    make_journal(data, made_up(1), "recorder-1", "before")
    make_journal(data, made_up(1), "recorder-2", "taken")
    result = tapeline_here("replay", "before", "--upstream", "http://127.0.0.1:9/v1", "--data", data, *options)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert word in line


# Patience.

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "2"}, 2.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": format_datetime(NOW.replace(second=30), usegmt=True)}, 30.0),
        ({"Retry-After": format_datetime(NOW.replace(year=2025), usegmt=True)}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, 0.0),
        ({"Retry-After": "-1"}, 0.0),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"x-should-retry": "false", "Retry-After": "1"}, float("inf")),
    ],
)
def test_servers_say_when_they_want_to_be_asked_again(headers: dict[str, str], seconds: float | None) -> None:
    message = HTTPMessage()
    for name, value in headers.items():
        message[name] = value
    assert requested_wait(message, NOW) == seconds


def test_a_server_is_left_alone_for_as_long_as_it_asks(data: Path) -> None:
    make_journal(data, made_up(2), run="before")
    with Provider(refuse_each=2, Retry_After="1") as provider:
        replay(data, "before", provider.base, "--run", "after", "--concurrency", "1")
    refused, again = provider.times[json.dumps("Question 1")]
    assert again - refused >= 1.0
    assert len(provider.times[json.dumps("Question 0")]) == 1


def test_who_answers_nothing_is_not_asked_without_end(data: Path) -> None:
    make_journal(data, made_up(20), run="before")

    def refuse(conversation: Conversation) -> None:
        conversation.read_body()
        # Who gives up leaves, be it within an answer.
        with suppress(OSError):
            conversation.answer(b"{}", status=503, Retry_After="0")

    command = ["replay", "before", "--data", str(data), "--run", "after", "--concurrency", "1", "--upstream"]
    with ScriptedServer(refuse) as server:
        result = tapeline(*command, server.url, environment=environment())
    assert result.returncode == 4, result.stderr
    assert "20 are not (status 503 Service Unavailable)." in result.stderr
    assert len(rows_of(data, "after")) < 20 * MAX_ATTEMPTS
    with Provider() as provider:
        replay(data, "before", provider.base, "--run", "after", "--resume")
        assert provider.answered() == 20
        replay(data, "before", provider.base, "--run", "after", "--resume")
        assert provider.answered() == 20
        other = tapeline(*command, provider.base, "--resume", "--model", "x", environment=environment())
    assert (other.returncode, "was sent with other changes" in other.stderr) == (2, True), other.stderr


def test_a_thousand_requests_end_each_once_though_it_is_killed_in_between(data: Path) -> None:
    make_journal(data, made_up(COUNT), run="before")
    with Provider(refuse_each=3, retry_after_ms="20") as provider:
        command = [*TAPELINE_COMMAND, "replay", "before", "--upstream", provider.base, "--data", str(data)]
        command += ["--run", "after", "--concurrency", str(CONCURRENCY)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment()) as killed:
            deadline = time.monotonic() + 60
            while provider.answered() < COUNT // 3:
                assert time.monotonic() < deadline
                assert killed.poll() is None
                time.sleep(0.01)
            killed.kill()
        before = provider.answered()
        assert before < COUNT
        said = replay(data, "before", provider.base, "--run", "after", "--concurrency", str(CONCURRENCY), "--resume")
        # What was under way when it was killed may have been answered without anybody left to hear it.
        assert COUNT <= provider.answered() <= COUNT + CONCURRENCY
        refused = {text for text, status in provider.statuses if status == 429}
    assert len(refused) == COUNT // 3
    assert max(count for (_, status), count in provider.statuses.items() if status == 429) == 1
    answered = Counter(
        row["text"]
        for row in query(
            data, "SELECT choices[1].content AS text FROM exchanges WHERE run = 'after' AND outcome = 'complete'"
        )
    )
    assert answered == {f'You said "Question {number}"': 1 for number in range(COUNT)}
    assert any(line.endswith("attempts.") for line in said)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_recorder_ends_with_it_and_keeps_what_it_heard(data: Path, number: signal.Signals) -> None:
    make_journal(data, made_up(1), run="before")
    asked = threading.Event()

    def keep_waiting(conversation: Conversation) -> None:
        conversation.read_body()
        asked.set()
        conversation.wait_for_hang_up()

    with ScriptedServer(keep_waiting) as server:
        command = [
            *TAPELINE_COMMAND,
            "replay",
            "before",
            "--upstream",
            server.url,
            "--data",
            str(data),
            "--run",
            "after",
        ]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment()) as killed:
            assert asked.wait(30)
            killed.send_signal(number)
    with Provider() as provider:
        replay(data, "before", provider.base, "--run", "after", "--resume")
    first, second = (row["outcome"] for row in rows_of(data, "after"))
    # The recorder hears of both at once: that its client has hung up, and that it is to end.
    assert first in ("client_aborted", "recorder_stopped")
    assert second == "complete"
    assert list((data / "journal").glob("*.sqlite")) == []
