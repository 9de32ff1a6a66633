"""Exchanges that the client, the recorder or a kill of the recorder cuts, and providers that cannot be reached."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.clients.wire import DONE, FINISH, KEY, PATH, ROADS, Road, ask, chat, event, open_road
from tests.support.journals.journals import wait_until_kept
from tests.support.processes.recorder import RunningRecorder, query, query_until
from tests.support.servers.scripted import Conversation, Turns

pytestmark = pytest.mark.slow

WORDS = ["What ", "the ", "client ", "had ", "read."]
TEXT = "".join(WORDS)
STREAM = b"".join(map(event, WORDS))


@pytest.fixture(params=ROADS)
def kind(request: pytest.FixtureRequest) -> str:
    """The road that a test takes."""
    road: str = request.param
    return road


def stream_and_wait(conversation: Conversation) -> None:
    """A stream that goes on for as long as the client stays."""
    conversation.read_body()
    conversation.start()
    for word in WORDS:
        conversation.send(event(word))
    conversation.wait_for_hang_up()


@contextmanager
def streaming(road: Road) -> Iterator[HTTPResponse]:
    """A stream of which the client has read all words and no end."""
    with closing(road.connect()) as connection:
        connection.request("POST", PATH, chat(stream=True), {"Authorization": KEY})
        with closing(connection.getresponse()) as response:
            read_exactly(response, STREAM)
            yield response


def read_exactly(response: HTTPResponse, expected: bytes) -> None:
    read = b""
    while len(read) < len(expected):
        read += response.read1()
    assert read == expected


def read_until_cut(response: HTTPResponse) -> bytes:
    """What still comes of a stream that does not end in order."""
    read = b""
    with pytest.raises((HTTPException, OSError)):  # noqa: PT012 - the cut may come at any piece
        while data := response.read1():
            read += data
    return read


def row_of(data: Path) -> dict[str, object]:
    (row,) = query(data, "SELECT outcome, status_code, choices[1].content AS text, response_bytes FROM exchanges")
    return row


def test_a_client_that_hangs_up_in_mid_stream(kind: str, data: Path, authority: Path) -> None:
    with open_road(kind, data, stream_and_wait, authority) as road:
        with streaming(road):
            pass
        (row,) = query_until(data, "SELECT outcome, choices[1].content AS text, response_bytes FROM exchanges", 1)
    assert row == {"outcome": "client_aborted", "text": TEXT, "response_bytes": len(STREAM)}


def test_a_client_that_hangs_up_before_the_answer(data: Path, authority: Path) -> None:
    asked = Turns()

    def think_for_ever(conversation: Conversation) -> None:
        conversation.read_body()
        asked.give()
        conversation.wait_for_hang_up()

    with open_road("tls", data, think_for_ever, authority) as road:
        with closing(road.connect()) as connection:
            connection.request("POST", PATH, chat(), {"Authorization": KEY})
            asked.take()
        query_until(data, "SELECT 1 FROM exchanges WHERE outcome = 'client_aborted' AND status_code IS NULL", 1)


def test_a_client_that_hangs_up_within_its_request(data: Path, authority: Path) -> None:
    body = chat()
    began = Turns()

    def wait_for_the_rest(conversation: Conversation) -> None:
        assert conversation.read(20) == body[:20]
        began.give()
        assert conversation.read_body() == b""

    with open_road("plain", data, wait_for_the_rest, authority) as road:
        with closing(road.connect()) as connection:
            connection.putrequest("POST", PATH)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body[:20])
            began.take()
        (row,) = query_until(data, "SELECT outcome, request_text, request_bytes FROM exchanges", 1)
    assert row == {"outcome": "client_aborted", "request_text": body[:20].decode(), "request_bytes": 20}


def test_a_provider_that_cannot_be_reached(data: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # a port that is taken, and where nobody listens
        upstream = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with RunningRecorder(data, "--upstream", upstream) as recorder:
            address = urlsplit(recorder.address)
            with closing(HTTPConnection(str(address.hostname), address.port, timeout=30)) as connection:
                status, _ = ask(connection, chat())
    (row,) = query(data, "SELECT outcome, status_code, choices, host, path FROM exchanges")
    assert status == 502
    assert row == {
        "outcome": "unreachable",
        "status_code": None,
        "choices": None,
        "host": "127.0.0.1",
        "path": PATH,
    }


def test_an_answer_that_runs_may_end_when_the_recorder_is_stopped(data: Path, authority: Path) -> None:
    stopping = Turns()

    def end_when_stopping(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start()
        conversation.send(STREAM)
        stopping.take()
        conversation.send(FINISH + DONE)
        conversation.end()

    with open_road("tls", data, end_when_stopping, authority) as road, streaming(road) as response:
        road.recorder.process.send_signal(signal.SIGINT)
        road.recorder.wait_until_said("1 running answers")
        stopping.give()
        assert response.read() == FINISH + DONE
        assert road.recorder.process.wait(30) == 0
    assert row_of(data) == {
        "outcome": "complete",
        "status_code": 200,
        "text": TEXT,
        "response_bytes": len(STREAM + FINISH + DONE),
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_the_recorder_at_once(number: signal.Signals, data: Path, authority: Path) -> None:
    with open_road("tls", data, stream_and_wait, authority) as road, streaming(road) as response:
        road.recorder.process.send_signal(number)
        road.recorder.wait_until_said("1 running answers")
        assert road.recorder.stop(number) == 0
        assert read_until_cut(response) == b""
    assert row_of(data) == {
        "outcome": "recorder_stopped",
        "status_code": 200,
        "text": TEXT,
        "response_bytes": len(STREAM),
    }


def test_a_killed_recorder_loses_nothing_that_had_ended(kind: str, data: Path, authority: Path) -> None:
    finished = json.dumps(
        {"id": "chatcmpl-0", "choices": [{"index": 0, "message": {"content": "Before"}, "finish_reason": "stop"}]}
    ).encode()

    def answer_or_wait(conversation: Conversation) -> None:
        if b'"before"' in conversation.read_body():
            conversation.answer(finished)
            return
        conversation.start()
        conversation.send(STREAM)
        conversation.wait_for_hang_up()

    with open_road(kind, data, answer_or_wait, authority) as road:
        with closing(road.connect()) as connection:
            for _ in range(5):
                assert ask(connection, chat("before")) == (200, finished)
        with streaming(road) as response:
            wait_until_kept(data, 5 * len(finished) + len(STREAM))
            road.recorder.process.kill()
            road.recorder.process.wait()
            assert read_until_cut(response) == b""
    rows = query(data, "SELECT outcome, choices[1].content AS text FROM exchanges ORDER BY started_at, exchange_id")
    assert rows == [{"outcome": "complete", "text": "Before"}] * 5 + [{"outcome": "recorder_stopped", "text": TEXT}]
    assert not list((data / "journal").glob("*.sqlite"))


def test_a_kill_costs_no_more_than_the_last_moments(data: Path, authority: Path) -> None:
    """What came right before the kill may be missing, and nothing else: the rest is a prefix of what was read."""
    last = event("Too late?")

    def one_more(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start()
        conversation.send(STREAM)
        kept.take()
        conversation.send(last)
        conversation.wait_for_hang_up()

    kept = Turns()
    with open_road("plain", data, one_more, authority) as road, streaming(road) as response:
        wait_until_kept(data, len(STREAM))
        kept.give()
        read_exactly(response, last)
        road.recorder.process.kill()
        road.recorder.process.wait()
    row = row_of(data)
    assert row["outcome"] == "recorder_stopped"
    assert row["text"] in (TEXT, TEXT + "Too late?")
