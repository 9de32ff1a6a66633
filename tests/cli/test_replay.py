"""`tapeline replay`: recorded requests are sent again as they were, and the responses make a new recording."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tapeline.pipeline.playback.sender import MAX_ATTEMPTS
from tests.support.journals.journals import NOON_US, MadeUp, make_journal
from tests.support.processes.recorder import TAPELINE as TAPELINE_COMMAND
from tests.support.processes.recorder import RunningRecorder, clean_environment, query, tapeline, tapeline_here
from tests.support.servers.echo import EchoProvider
from tests.support.servers.scripted import Conversation, ScriptedServer

pytestmark = pytest.mark.slow

IMAGE = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 8).decode()
COUNT, CONCURRENCY = 1000, 16


def replay(data: Path, run: str, upstream: str, *options: str, key: str = "sk-test-key") -> list[str]:
    """Replay successfully, and return the lines of stderr."""
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


def test_requests_are_sent_as_they_were_and_recorded_again(data: Path) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    with EchoProvider() as provider:
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
        sent = list(provider.requests)
        provider.requests.clear()
        replay(data, "before", provider.base, "--run", "after", "--concurrency", "1")
        assert provider.requests == sent
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


def test_parameters_are_changed_and_requests_repeated(data: Path) -> None:
    make_journal(data, made_up(2), run="before")
    with EchoProvider() as provider:
        options = ("--model", "other", "--set", "temperature=0", "--set", "user=me", "--set", 'stop=["x"]')
        replay(data, "before", provider.base, "--run", "after", "--repeat", "3", "--concurrency", "1", *options)
    changed = {"model": "other", "temperature": 0, "user": "me", "stop": ["x"]}
    assert all(body.items() >= changed.items() for body in provider.requests)
    contents = [body["messages"][0]["content"] for body in provider.requests]
    assert contents == ["Question 0", "Question 1"] * 3
    assert len(rows_of(data, "after")) == 6


def test_the_recorded_timing_is_kept(data: Path) -> None:
    pauses = [MadeUp(content=str(number), started_at_us=NOON_US + number * 20_000_000) for number in range(3)]
    make_journal(data, pauses, run="before")
    with EchoProvider() as provider:
        replay(data, "before", provider.base, "--run", "after", "--speed", "10")
    first, second, third = (provider.times[json.dumps(str(number))][0] for number in range(3))
    # A tenth of twenty seconds, less what a loaded machine takes to send the first request.
    assert second - first > 0.5
    assert third - first > 2.5


def test_incomplete_requests_are_refused_by_name(data: Path) -> None:
    secret = "Use ghp_" + "a1B2" * 9
    make_journal(data, [MadeUp(), MadeUp(content=secret)], "recorder-1", "before")
    make_journal(data, [MadeUp(content="Kept nowhere")], "recorder-2", "before", content="none")
    redacted, withheld = query(
        data,
        "SELECT exchange_id FROM exchanges WHERE request_redactions > 0 OR NOT content_kept ORDER BY content_kept DESC",
    )
    with EchoProvider() as provider:
        output = replay(data, "before", provider.base, "--run", "after")
        assert [body["messages"][0]["content"] for body in provider.requests] == ["Hello!"]
    assert f"Not sent: {redacted['exchange_id']}: names stand for credentials in it, 1 times." in output
    assert f"Not sent: {withheld['exchange_id']}: it was recorded without content." in output


def test_a_request_with_lost_content_is_refused(data: Path) -> None:
    make_journal(data, [MadeUp()], run="before")
    query(data, "SELECT 1 AS one")
    for path in (data / "content").rglob("*.parquet"):
        path.unlink()
    (data / "warehouse.duckdb").unlink()
    result = tapeline_here("replay", "before", "--upstream", "http://127.0.0.1:9/v1", "--data", data, "--dry-run")
    assert result.returncode == 2
    assert "messages or tools of it are not in the dataset" in result.stderr


def test_a_request_that_the_client_repeated_is_sent_once(data: Path) -> None:
    with EchoProvider(refuse_each=1, retry_after_ms="0") as provider:
        make_journal(data, made_up(1), run="before")
        replay(data, "before", provider.base, "--run", "limited")
        assert [row["status_code"] for row in rows_of(data, "limited")] == [429, 200]
        provider.requests.clear()
        output = replay(data, "limited", provider.base, "--run", "after")
    assert len(provider.requests) == 1
    assert "Not sent: 1 that the server did not process and the client sent again." in output


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
    # 15 cents for a million prompt tokens, 60 for a million completion tokens.
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
    with EchoProvider() as provider:
        replay(data, "before", provider.base, "--run", "after", key=key)
        assert provider.headers[-1]["Authorization"] == f"Bearer {key}"
    assert not [path for path in data.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--run", "before"], "into itself"),
        (["--resume"], "--resume needs --run"),
        (["--run", "existing"], "continue it with --resume"),
        (["--set", "temperature"], "is not NAME=VALUE"),
        (["--upstream", "ftp://x"], "is no http or https URL"),
    ],
)
def test_wrong_use_gets_an_error_of_one_line(data: Path, options: list[str], word: str) -> None:
    make_journal(data, made_up(1), "recorder-1", "before")
    make_journal(data, made_up(1), "recorder-2", "existing")
    result = tapeline_here("replay", "before", "--upstream", "http://127.0.0.1:9/v1", "--data", data, *options)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert word in line


def test_a_retry_waits_as_long_as_the_server_asks(data: Path) -> None:
    make_journal(data, made_up(2), run="before")
    with EchoProvider(refuse_each=2, Retry_After="1") as provider:
        replay(data, "before", provider.base, "--run", "after", "--concurrency", "1")
    refused, again = provider.times[json.dumps("Question 1")]
    assert again - refused >= 1.0
    assert len(provider.times[json.dumps("Question 0")]) == 1


def test_a_server_that_answers_nothing_is_given_up(data: Path) -> None:
    make_journal(data, made_up(20), run="before")

    def refuse(conversation: Conversation) -> None:
        conversation.read_body()
        # The client may give up and leave in the middle of a response.
        with suppress(OSError):
            conversation.answer(b"{}", status=503, Retry_After="0")

    command = ["replay", "before", "--data", str(data), "--run", "after", "--concurrency", "1", "--upstream"]
    with ScriptedServer(refuse) as server:
        result = tapeline(*command, server.url, environment=environment())
    assert result.returncode == 4, result.stderr
    assert "20 are not (status 503 Service Unavailable)." in result.stderr
    assert len(rows_of(data, "after")) < 20 * MAX_ATTEMPTS
    with EchoProvider() as provider:
        replay(data, "before", provider.base, "--run", "after", "--resume")
        assert provider.answered() == 20
        replay(data, "before", provider.base, "--run", "after", "--resume")
        assert provider.answered() == 20
        other = tapeline(*command, provider.base, "--resume", "--model", "x", environment=environment())
    assert (other.returncode, "was sent with other changes" in other.stderr) == (2, True), other.stderr


def test_a_thousand_requests_are_answered_once_each_although_the_replay_is_killed(data: Path) -> None:
    make_journal(data, made_up(COUNT), run="before")
    with EchoProvider(refuse_each=3, retry_after_ms="20", answers_at_first=COUNT // 3) as provider:
        command = [*TAPELINE_COMMAND, "replay", "before", "--upstream", provider.base, "--data", str(data)]
        command += ["--run", "after", "--concurrency", str(CONCURRENCY)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment()) as killed:
            assert provider.waits.wait(60)
            killed.kill()
        provider.goes_on.set()
        output = replay(data, "before", provider.base, "--run", "after", "--concurrency", str(CONCURRENCY), "--resume")
        # Requests that were running when the replay was killed may have been answered without being recorded.
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
    assert any(line.endswith("attempts.") for line in output)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_recorder_ends_with_the_replay_and_keeps_what_it_recorded(data: Path, number: signal.Signals) -> None:
    make_journal(data, made_up(1), run="before")
    is_requested = threading.Event()

    def keep_waiting(conversation: Conversation) -> None:
        conversation.read_body()
        is_requested.set()
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
            assert is_requested.wait(30)
            killed.send_signal(number)
    with EchoProvider() as provider:
        replay(data, "before", provider.base, "--run", "after", "--resume")
    first, second = (row["outcome"] for row in rows_of(data, "after"))
    # The recorder notices two things at the same time: its client has hung up, and it has to end.
    assert first in ("client_aborted", "recorder_stopped")
    assert second == "complete"
    assert list((data / "journal").glob("*.sqlite")) == []
