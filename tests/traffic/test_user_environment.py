"""What `tapeline record` takes from the user's environment: whom to trust, and which proxy to go through."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from tapeline.pipeline.demo import BuiltInProvider
from tests.support.processes.recorder import RunningRecorder, clean_environment, query, tapeline
from tests.support.servers.scripted import WAIT_SECONDS, Conversation, ScriptedServer

pytestmark = pytest.mark.slow

BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}


def ask(address: str) -> httpx.Response:
    return httpx.post(f"{address}/v1/chat/completions", json=BODY, timeout=20, trust_env=False)


def test_the_users_own_certificates_are_trusted_upstream(
    data: Path, https_provider: BuiltInProvider, authority: Path
) -> None:
    upstream = https_provider.url.replace("127.0.0.1", "localhost")
    environment = clean_environment(SSL_CERT_FILE=str(authority / "ca.pem"))
    with RunningRecorder(data, "--upstream", upstream, environment=environment) as recorder:
        assert ask(recorder.address).status_code == 200
    with RunningRecorder(data, "--upstream", upstream) as recorder:
        assert ask(recorder.address).status_code == 502
    rows = query(data, "SELECT outcome, outcome_detail FROM exchanges ORDER BY started_at")
    assert [row["outcome"] for row in rows] == ["complete", "unreachable"]
    assert "ertificate" in rows[1]["outcome_detail"]


def test_traffic_that_is_not_recorded_streams_as_well(data: Path) -> None:
    read_first = threading.Event()

    def one_event_at_a_time(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start()
        conversation.send(b"data: first\n\n")
        assert read_first.wait(WAIT_SECONDS)
        conversation.send(b"data: second\n\n")
        conversation.end()

    with (
        ScriptedServer(one_event_at_a_time) as server,
        RunningRecorder(data, "--upstream", server.url) as recorder,
        httpx.Client(trust_env=False, timeout=WAIT_SECONDS) as client,
        client.stream("POST", f"{recorder.address}/v1/responses", json=BODY) as answer,
    ):
        events = answer.iter_raw()
        assert next(events) == b"data: first\n\n"
        read_first.set()
        assert b"".join(events) == b"data: second\n\n"
    assert query(data, "SELECT count(*) AS n FROM exchanges") == [{"n": 0}]


def test_a_proxy_that_the_environment_names_is_gone_through(data: Path, provider: BuiltInProvider) -> None:
    environment = clean_environment(HTTPS_PROXY=provider.url)
    with RunningRecorder(data, environment=environment) as recorder:
        with httpx.Client(proxy=recorder.address, trust_env=False, timeout=20) as client:
            answer = client.post("http://api.aiand.com/v1/chat/completions", json=BODY)
        assert answer.status_code in (200, 401)
        assert "Going through the proxy" in recorder.said
    assert query(data, "SELECT provider, mode FROM exchanges") == [{"provider": "aiand", "mode": "upstream"}]


def test_a_proxy_that_cannot_be_gone_through_is_refused_without_its_password(data: Path) -> None:
    environment = clean_environment(ALL_PROXY="socks5://user:secret@127.0.0.1:1")
    result = tapeline("record", "--data", data, "--", "true", environment=environment)
    assert result.returncode == 2
    assert "socks5" in result.stderr
    assert "secret" not in result.stderr
