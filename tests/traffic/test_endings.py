"""How the provider ends an exchange, in order or not: what the client sees of it and what is recorded.

The recorder adds nothing and hides nothing: a stream that breaks off breaks off for the client, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import pytest

from tapeline.pipeline.demo import JsonObject
from tests.support.clients.wire import DONE, FINISH, KEY, PATH, ROADS, Road, chat, event, open_road
from tests.support.processes.recorder import query
from tests.support.servers.scripted import Conversation, Turns

pytestmark = pytest.mark.slow

WORDS = ["What ", "the ", "client ", "had ", "read."]
TEXT = "".join(WORDS)
STREAM = b"".join(map(event, WORDS))
ERROR = b'{"error": {"message": "Provider error", "type": "server_error", "param": null, "code": "E7"}}'
HALF_EVENT = b'data: {"id": "chatcmpl-1", "choi'
HALF_JSON = b'{"id": "chatcmpl-1", "choices": [{"index": 0, "mess'

Ending = Callable[[Conversation, Turns], None]


def begin(conversation: Conversation, turns: Turns, data: bytes = STREAM) -> None:
    """A stream without an end, which the client has read when this is over."""
    conversation.start()
    conversation.send(data)
    turns.take()


def reset(conversation: Conversation, turns: Turns) -> None:
    begin(conversation, turns)
    conversation.reset()


def hang_up(conversation: Conversation, turns: Turns) -> None:
    begin(conversation, turns)
    conversation.hang_up()


def hang_up_inside_an_event(conversation: Conversation, turns: Turns) -> None:
    begin(conversation, turns, STREAM + HALF_EVENT)
    conversation.hang_up()


def hang_up_inside_json(conversation: Conversation, turns: Turns) -> None:
    conversation.start("application/json")
    conversation.send(HALF_JSON)
    turns.take()
    conversation.hang_up()


def hang_up_without_an_answer(conversation: Conversation, _turns: Turns) -> None:
    conversation.hang_up()


def hang_up_after_the_end(conversation: Conversation, turns: Turns) -> None:
    """All of the stream, and then the connection breaks before the body's own end."""
    begin(conversation, turns, STREAM + FINISH + DONE)
    conversation.hang_up()


def end_without_a_finish(conversation: Conversation, turns: Turns) -> None:
    begin(conversation, turns)
    conversation.end()


def end_without_done(conversation: Conversation, turns: Turns) -> None:
    begin(conversation, turns, STREAM + FINISH)
    conversation.end()


def end_with_an_error_event(conversation: Conversation, turns: Turns) -> None:
    begin(conversation, turns, STREAM + b"data: " + ERROR + b"\n\n" + DONE)
    conversation.end()


def end_with_the_connection(conversation: Conversation, _turns: Turns) -> None:
    """As HTTP/1.0 did it: neither a length nor chunks."""
    conversation.send_response(200)
    conversation.send_header("Content-Type", "text/event-stream")
    conversation.send_header("Connection", "close")
    conversation.end_headers()
    conversation.wfile.write(STREAM + FINISH + DONE)
    conversation.hang_up()


def refuse(status: int) -> Ending:
    return lambda conversation, _turns: conversation.answer(ERROR, status=status)


def answer_in_html(conversation: Conversation, _turns: Turns) -> None:
    conversation.answer(b"<html>Welcome</html>", "text/html")


def answer_with_nothing(conversation: Conversation, _turns: Turns) -> None:
    conversation.answer(b"")


@dataclass(frozen=True)
class Expected:
    """What is to come of an ending."""

    ending: Ending
    outcome: str
    text: str | None = None
    read: bytes = b""
    status: int | None = 200
    whole: bool = True
    """Whether the body came to its end in order, as far as the client can tell."""
    also: JsonObject = field(default_factory=dict)


TOLD = {"error_type": "server_error", "error_message": "Provider error", "error_code": "E7", "error_param": None}
CASES = {
    "reset": Expected(reset, "upstream_aborted", TEXT, STREAM, whole=False),
    "hung up": Expected(hang_up, "upstream_aborted", TEXT, STREAM, whole=False),
    "hung up inside an event": Expected(
        hang_up_inside_an_event, "upstream_aborted", TEXT, STREAM + HALF_EVENT, whole=False
    ),
    "hung up inside JSON": Expected(
        hang_up_inside_json,
        "upstream_aborted",
        None,
        HALF_JSON,
        whole=False,
        also={"response_text": HALF_JSON.decode()},
    ),
    "hung up after the end": Expected(hang_up_after_the_end, "complete", TEXT, STREAM + FINISH + DONE, whole=False),
    "no finish": Expected(end_without_a_finish, "truncated", TEXT, STREAM),
    "no done": Expected(end_without_done, "complete", TEXT, STREAM + FINISH),
    "error event": Expected(
        end_with_an_error_event, "stream_error", TEXT, STREAM + b"data: " + ERROR + b"\n\n" + DONE, also=TOLD
    ),
    "end with the connection": Expected(end_with_the_connection, "complete", TEXT, STREAM + FINISH + DONE),
    "404": Expected(refuse(404), "http_error", None, ERROR, 404, also=TOLD),
    "429": Expected(refuse(429), "http_error", None, ERROR, 429, also=TOLD),
    "500": Expected(refuse(500), "http_error", None, ERROR, 500, also=TOLD),
    "HTML": Expected(
        answer_in_html, "invalid", None, b"<html>Welcome</html>", also={"response_text": "<html>Welcome</html>"}
    ),
    "nothing": Expected(answer_with_nothing, "invalid"),
}


@dataclass
class Seen:
    """How a client saw one ending, and its row."""

    status: int
    read: bytes
    whole: bool
    row: JsonObject = field(default_factory=dict)


@pytest.fixture(scope="module", params=ROADS)
def seen(request: pytest.FixtureRequest, authority: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """Every ending, met by a client on one road."""
    data = tmp_path_factory.mktemp("recordings")
    turns = {name: Turns() for name in CASES}

    def end_as_asked(conversation: Conversation) -> None:
        name = json.loads(conversation.read_body())["model"]
        CASES[name].ending(conversation, turns[name])

    with open_road(request.param, data, end_as_asked, authority) as road:
        found = {name: meet(road, name, turns[name]) for name in CASES}
    for row in query(data, "SELECT * FROM exchanges"):
        found[row["model"]].row = row
    return found


def meet(road: Road, name: str, turns: Turns) -> Seen:
    """Ask for an ending and read all that comes."""
    with closing(road.connect()) as connection:
        connection.request("POST", PATH, chat(name, stream=True), {"Authorization": KEY})
        response = connection.getresponse()
        read, whole = read_to_the_end(response, len(CASES[name].read), turns)
        return Seen(response.status, read, whole)


def read_to_the_end(response: HTTPResponse, size: int, turns: Turns) -> tuple[bytes, bool]:
    """What comes, and whether it ends in order; when `size` bytes are there, the server goes on."""
    read = b""
    try:
        while data := response.read1():
            read += data
            if len(read) == size:
                turns.give()
    except (HTTPException, OSError):
        return read, False
    return read, True


@pytest.mark.parametrize("name", CASES)
def test_the_client_sees_what_the_provider_did(seen: dict[str, Seen], name: str) -> None:
    met, expected = seen[name], CASES[name]
    assert (met.status, met.read, met.whole) == (expected.status, expected.read, expected.whole)


@pytest.mark.parametrize("name", CASES)
def test_the_ending_is_recorded(seen: dict[str, Seen], name: str) -> None:
    row, expected = seen[name].row, CASES[name]
    text = row["choices"][0]["content"] if row["choices"] else None
    assert (row["outcome"], row["status_code"], text) == (expected.outcome, expected.status, expected.text)
    assert row["response_bytes"] == len(expected.read)
    assert {column: row[column] for column in expected.also} == expected.also
    assert row["ended_us"] is not None
