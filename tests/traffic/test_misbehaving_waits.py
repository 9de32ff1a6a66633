"""Providers that are silent for long, send clients elsewhere, or cannot be reached."""

from __future__ import annotations

import json
import socket
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.clients.wire import DONE, FINISH, KEY, PATH, ask, chat, event, trusting, tunnel
from tests.support.processes import impatient
from tests.support.processes.recorder import RunningRecorder, query, query_until
from tests.support.servers.authority import server_context
from tests.support.servers.scripted import Conversation, ScriptedServer

pytestmark = pytest.mark.slow

BODY = chat()
STREAM = event("Hi") + FINISH + DONE
ANSWER = json.dumps(
    {"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
).encode()
# -P: the script's folder, which would come first, has modules named as libraries are.
IMPATIENT = (sys.executable, "-P", str(Path(impatient.__file__)))


def answer(conversation: Conversation) -> None:
    conversation.read_body()
    conversation.answer(ANSWER)


def connect(recorder: RunningRecorder) -> HTTPConnection:
    address = urlsplit(recorder.address)
    return HTTPConnection(str(address.hostname), address.port, timeout=30)


def rows(data: Path, columns: str) -> list[tuple[Any, ...]]:
    found = query(data, f"SELECT {columns} FROM exchanges ORDER BY started_at, exchange_id")
    return [tuple(row.values()) for row in found]


def test_a_provider_that_thinks_for_longer_than_mitmproxy_waits(data: Path) -> None:
    """Silence before the answer and in mid-stream, each several times what mitmproxy would stand."""

    def think(conversation: Conversation) -> None:
        conversation.read_body()
        time.sleep(3 * impatient.SECONDS)
        conversation.start()
        conversation.send(event("Hi"))
        time.sleep(3 * impatient.SECONDS)
        conversation.send(FINISH + DONE)
        conversation.end()

    with (
        ScriptedServer(think) as server,
        RunningRecorder(data, "--upstream", server.url, launcher=IMPATIENT) as recorder,
    ):
        connection = connect(recorder)
        assert ask(connection, chat(stream=True)) == (200, STREAM)
        connection.close()
    assert rows(data, "outcome, response_bytes") == [("complete", len(STREAM))]


@pytest.mark.parametrize(("said", "outcome"), [(BODY, "upstream_aborted"), (BODY[:20], "client_aborted")])
def test_how_long_silence_lasts_can_be_set(said: bytes, outcome: str, data: Path) -> None:
    """The one who is to speak next counts as gone."""

    def say_nothing(conversation: Conversation) -> None:
        conversation.read(len(said))
        conversation.wait_for_hang_up()

    with ScriptedServer(say_nothing) as server:
        options = ("--upstream", server.url, "--set", f"tcp_timeout={impatient.SECONDS}")
        with RunningRecorder(data, *options) as recorder, closing(connect(recorder)) as connection:
            connection.putrequest("POST", PATH)
            connection.putheader("Content-Length", str(len(BODY)))
            connection.endheaders(said)
            with pytest.raises(ConnectionError):
                connection.getresponse()
    detail = "nothing was said for longer than tcp_timeout"
    assert rows(data, "outcome, outcome_detail, request_bytes") == [(outcome, detail, len(said))]


def test_a_redirection_passes_and_what_follows_it_is_recorded(data: Path) -> None:
    with ScriptedServer(answer) as second:

        def redirect(conversation: Conversation) -> None:
            conversation.read_body()
            conversation.answer(b"", status=307, Location=f"{second.url}{PATH}")

        with ScriptedServer(redirect) as first, RunningRecorder(data) as recorder:
            options: Any = {"proxy": recorder.address, "trust_env": False, "follow_redirects": True, "timeout": 30}
            response = httpx.post(first.url + PATH, content=chat(), headers={"Authorization": KEY}, **options)
    assert [past.status_code for past in response.history] == [307]
    assert response.content == ANSWER
    assert rows(data, "port, status_code, outcome") == [
        (first.port, 307, "http_error"),
        (second.port, 200, "complete"),
    ]


@pytest.fixture
def nobody() -> Any:
    """A port that is taken, and where nobody listens."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]


def test_what_was_asked_of_a_provider_that_cannot_be_reached(data: Path, nobody: int) -> None:
    """The client may send all of its request before it is told, and the request is recorded whole."""
    body = chat(text="x" * 5_000_000)
    with RunningRecorder(data, "--upstream", f"http://127.0.0.1:{nobody}") as recorder:
        connection = connect(recorder)
        status, page = ask(connection, body)
        connection.close()
    assert (status, b"502 Bad Gateway" in page) == (502, True)
    assert rows(data, "outcome, status_code, model, request_bytes, prompt_characters") == [
        ("unreachable", None, "gpt-4o-mini", len(body), 5_000_000)
    ]


def test_a_client_that_leaves_while_nobody_can_be_reached(data: Path, nobody: int) -> None:
    body = chat()
    with RunningRecorder(data, "--upstream", f"http://127.0.0.1:{nobody}") as recorder:
        with closing(connect(recorder)) as connection:
            connection.putrequest("POST", PATH)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body[:20])
        (row,) = query_until(data, "SELECT outcome, status_code FROM exchanges", 1)
    assert row == {"outcome": "client_aborted", "status_code": None}


@pytest.mark.parametrize("mode", ["reverse", "regular"])
def test_a_provider_with_a_certificate_that_nobody_trusts(mode: str, data: Path, authority: Path) -> None:
    with ScriptedServer(answer, server_context(authority)) as server:
        options = ("--upstream", server.url) if mode == "reverse" else ()
        with RunningRecorder(data, *options) as recorder:
            connection = connect(recorder) if mode == "reverse" else tunnel(recorder, server.port)
            status, page = ask(connection, chat())
            connection.close()
    assert (status, b"Certificate verify failed" in page) == (502, True)
    ((outcome, detail, model),) = rows(data, "outcome, outcome_detail, model")
    assert (outcome, model) == ("unreachable", "gpt-4o-mini")
    assert detail.startswith("Certificate verify failed")


def test_a_provider_that_is_gone_when_it_is_asked_again(data: Path, authority: Path) -> None:
    """What is left of the first connection does not pass for one of the second request's."""

    def answer_once(conversation: Conversation) -> None:
        answer(conversation)
        conversation.hang_up()

    with RunningRecorder(data, *trusting(authority)) as recorder:
        with ScriptedServer(answer_once, server_context(authority)) as server:
            connection = tunnel(recorder, server.port)
            first = ask(connection, chat())
        second = ask(connection, chat())
        connection.close()
    assert (first, second[0]) == ((200, ANSWER), 502)
    assert [outcome for (outcome,) in rows(data, "outcome")] == ["complete", "unreachable"]


def test_a_host_that_a_forward_proxy_cannot_reach_is_named_at_the_end(data: Path, nobody: int) -> None:
    """The client is told before it says what it wants, so that there is nothing to record."""
    with RunningRecorder(data) as recorder:
        with pytest.raises(OSError, match="502"):
            ask(tunnel(recorder, nobody, host="127.0.0.1"), chat())
        assert recorder.stop() == 0
    assert f"127.0.0.1:{nobody} could not be reached" in recorder.said
    assert rows(data, "outcome") == []
