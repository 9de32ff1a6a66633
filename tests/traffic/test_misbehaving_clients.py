"""Clients that leave, at every stage of an exchange and in every way: what was said until then is kept, and the
provider learns at once that nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from h2.errors import ErrorCodes

from tapeline.pipeline.demo import JsonObject
from tests.support.clients.http2 import Answer, Http2Client, Http2Provider, endless
from tests.support.clients.wire import (
    DONE,
    FINISH,
    KEY,
    PATH,
    Road,
    break_off,
    chat,
    client_tls,
    event,
    open_road,
    trusting,
    tunnel_socket,
)
from tests.support.processes.recorder import RunningRecorder, query_until
from tests.support.servers.authority import server_context
from tests.support.servers.scripted import Conversation, Turns

pytestmark = pytest.mark.slow

BODY = chat(stream=True)
WORDS = ["What ", "the ", "client ", "had ", "read."]
TEXT = "".join(WORDS)
STREAM = b"".join(map(event, WORDS))
HALF_EVENT = b'data: {"id": "chatcmpl-1", "choi'


@dataclass(frozen=True)
class Stage:
    """How far an exchange goes before the client leaves it; without `answered` not even the answer's head comes."""

    outcome: str
    sent: bytes = BODY
    answered: bytes | None = None
    text: str | None = None


STAGES = {
    "within the request": Stage("client_aborted", sent=BODY[:40]),
    "before the answer": Stage("client_aborted"),
    "after the head": Stage("client_aborted", answered=b""),
    "in mid-stream": Stage("client_aborted", answered=STREAM, text=TEXT),
    "inside an event": Stage("client_aborted", answered=STREAM + HALF_EVENT, text=TEXT),
    "after the finish reason": Stage("complete", answered=STREAM + FINISH, text=TEXT),
    "after [DONE]": Stage("complete", answered=STREAM + FINISH + DONE, text=TEXT),
}
HTTP1_WAYS = ("closes", "breaks off")
HTTP2_WAYS: dict[str, Callable[[Http2Client], None]] = {
    "cancels": lambda client: client.reset(),
    "resets": lambda client: client.reset(ErrorCodes.STREAM_CLOSED),
    "goes away": lambda client: client.go_away(),
    "closes": lambda client: client.__exit__(),
}
# Who speaks what: the client, then the provider.
ROADS = ("plain", "tls", "http2 before http1", "http2")
NAMES = {
    road: [f"{stage}: {way}" for stage in STAGES for way in (HTTP2_WAYS if road.startswith("http2") else HTTP1_WAYS)]
    for road in ROADS
}
CASES = [(road, name) for road in ROADS for name in NAMES[road]]


@dataclass
class Left:
    """What was seen of a client that left: its answer, what the provider read, and the row."""

    read: bytes | None = None
    received: bytes = b""
    row: JsonObject = field(default_factory=dict)


def stage_of(name: str) -> Stage:
    return STAGES[name.partition(":")[0]]


@pytest.fixture(scope="module")
def leavings(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Left]]:
    """All cases of a road, each met once."""
    met: dict[str, dict[str, Left]] = {}

    def meet(road: str) -> dict[str, Left]:
        if road not in met:
            data = tmp_path_factory.mktemp("recordings")
            met[road] = meet_http2(data, authority) if road == "http2" else meet_http1(road, data, authority)
        return met[road]

    return meet


def meet_http1(kind: str, data: Path, authority: Path) -> dict[str, Left]:
    """Leave a provider that speaks HTTP/1 in all ways."""
    found = {name: Left() for name in NAMES[kind]}
    arrived = {name: Turns() for name in found}
    gone = {name: Turns() for name in found}

    def serve(conversation: Conversation) -> None:
        name = conversation.headers["User-Agent"]
        stage = stage_of(name)
        found[name].received = conversation.read(len(stage.sent))
        arrived[name].give()
        if stage.answered is not None:
            conversation.start()
        if stage.answered:
            conversation.send(stage.answered)
        conversation.wait_for_hang_up()
        gone[name].give()

    leave = leave_http1 if kind in ("plain", "tls") else leave_http2
    with open_road("tls" if kind == "tls" else "plain", data, serve, authority) as road:
        for name, left in found.items():
            left.read = leave(road, name, arrived[name])
            gone[name].take()
        take_rows(data, found)
    return found


def leave_http1(road: Road, name: str, arrived: Turns) -> bytes | None:
    stage = stage_of(name)
    with closing(road.connect()) as connection:
        connection.putrequest("POST", PATH, skip_accept_encoding=True)
        for header, value in {"Authorization": KEY, "User-Agent": name, "Content-Length": str(len(BODY))}.items():
            connection.putheader(header, value)
        connection.endheaders(stage.sent)
        arrived.take()
        read = None
        if stage.answered is not None:
            response = connection.getresponse()
            read = b""
            while len(read) < len(stage.answered):
                read += response.read1()
        if name.endswith("breaks off"):
            break_off(connection.sock)
        elif stage.answered is not None:
            response.close()
    return read


def leave_http2(road: Road, name: str, arrived: Turns) -> bytes | None:
    # A reverse proxy's port takes TLS as well, and with it HTTP/2, whatever the provider behind it speaks.
    with Http2Client(road.open(), client_tls(road.recorder), "localhost") as client:
        return leave_stream(client, name, arrived.take)


def meet_http2(data: Path, authority: Path) -> dict[str, Left]:
    """Leave a provider that speaks HTTP/2 in all ways."""
    found = {name: Left() for name in NAMES["http2"]}
    with RunningRecorder(data, *trusting(authority)) as recorder:
        for name, left in found.items():
            stage = stage_of(name)
            answer: Answer = endless(stage.answered) if stage.answered is not None else lambda _state, _stream: None
            with Http2Provider(server_context(authority), answer) as provider:
                is_whole = stage.sent == BODY
                tunnel = tunnel_socket(recorder, provider.port)
                with Http2Client(tunnel, client_tls(recorder), "localhost") as client:
                    left.read = leave_stream(client, name, (provider.asked if is_whole else provider.begun).take)
                provider.left.take()
                left.received = b"".join(provider.requests) if is_whole else provider.unfinished
        take_rows(data, found)
    return found


def leave_stream(client: Http2Client, name: str, wait_until_sent: Callable[[], None]) -> bytes | None:
    stage = stage_of(name)
    client.begin(PATH, stage.sent, user_agent=name, content_length=str(len(BODY)))
    if stage.sent == BODY:
        client.finish()
    wait_until_sent()
    if stage.answered is not None:
        client.read_head()
    read = client.read(len(stage.answered)) if stage.answered is not None else None
    HTTP2_WAYS[name.rpartition(": ")[2]](client)
    return read


def take_rows(data: Path, found: dict[str, Left]) -> None:
    """The rows, which are there while the recorder still runs: nothing but the client's leaving ended the exchanges."""
    for row in query_until(data, "SELECT * FROM exchanges", len(found)):
        found[row["user_agent"]].row = row


@pytest.mark.parametrize(("road", "name"), CASES)
def test_both_sides_read_what_was_said(leavings: Callable[[str], dict[str, Left]], road: str, name: str) -> None:
    left, stage = leavings(road)[name], stage_of(name)
    assert left.received == stage.sent
    assert left.read == stage.answered


@pytest.mark.parametrize(("road", "name"), CASES)
def test_what_was_said_is_recorded(leavings: Callable[[str], dict[str, Left]], road: str, name: str) -> None:
    row, stage = leavings(road)[name].row, stage_of(name)
    text = row["choices"][0]["content"] if row["choices"] else None
    assert (row["outcome"], text) == (stage.outcome, stage.text)
    assert row["status_code"] == (None if stage.answered is None else 200)
    assert (row["request_bytes"], row["response_bytes"]) == (len(stage.sent), len(stage.answered or b""))
    assert row["ended_us"] is not None
