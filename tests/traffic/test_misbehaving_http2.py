"""Providers that speak HTTP/2 and break off, drain a connection, or say more than an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from tapeline.pipeline.demo import JsonObject
from tests.support.clients.http2 import Answer, Http2Client, Http2Provider, begin
from tests.support.clients.wire import DONE, FINISH, PATH, chat, client_tls, event, trusting, tunnel_socket
from tests.support.processes.recorder import RunningRecorder, query
from tests.support.servers.authority import server_context
from tests.support.servers.scripted import Conversation, ScriptedServer

pytestmark = pytest.mark.slow

WORDS = ["Frame ", "by ", "frame"]
TEXT = "".join(WORDS)
STREAM = b"".join(map(event, WORDS))
WHOLE = STREAM + FINISH + DONE
BODY = chat(stream=True)


@dataclass(frozen=True)
class Stage:
    """How far an answer goes; with None not even its head comes."""

    outcome: str
    sent: bytes | None
    text: str | None = None


STAGES = {
    "before the answer": Stage("upstream_aborted", None),
    "after the head": Stage("upstream_aborted", b""),
    "in mid-stream": Stage("upstream_aborted", STREAM, TEXT),
    "after the finish reason": Stage("complete", STREAM + FINISH, TEXT),
    "after [DONE]": Stage("complete", WHOLE, TEXT),
}
WAYS: dict[str, Callable[[H2Connection, int], None]] = {
    "resets": lambda state, stream: state.reset_stream(stream, ErrorCodes.INTERNAL_ERROR),
    "refuses": lambda state, stream: state.reset_stream(stream, ErrorCodes.REFUSED_STREAM),
    "cancels": lambda state, stream: state.reset_stream(stream, ErrorCodes.CANCEL),
    "goes away": lambda state, _stream: state.close_connection(ErrorCodes.ENHANCE_YOUR_CALM),
    # As h2 closes in order, after which the provider here closes the connection.
    "closes": lambda state, _stream: state.close_connection(),
}
CASES = [f"{stage}: {way}" for stage in STAGES for way in WAYS]


@dataclass
class Met:
    """What a client saw of an answer, and its row."""

    body: bytes
    end: str | None
    heads: int
    row: JsonObject = field(default_factory=dict)


def breaking(name: str) -> Answer:
    stage, way = STAGES[name.partition(": ")[0]], WAYS[name.partition(": ")[2]]

    def answer(state: H2Connection, stream: int) -> None:
        if stage.sent is not None:
            begin(state, stream, *([stage.sent] if stage.sent else []))
        way(state, stream)

    return answer


@pytest.fixture(scope="module")
def met(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Met]:
    """Every case, met by a client that speaks HTTP/2 as well."""
    data = tmp_path_factory.mktemp("recordings")
    found = {}
    with RunningRecorder(data, *trusting(authority)) as recorder:
        for name in CASES:
            with (
                Http2Provider(server_context(authority), breaking(name)) as provider,
                over_http2(recorder, provider) as client,
            ):
                client.ask(PATH, BODY, user_agent=name)
                client.read_to_the_end()
                found[name] = Met(client.body, client.end, len(client.heads))
    for row in query(data, "SELECT * FROM exchanges"):
        found[row["user_agent"]].row = row
    return found


def over_http2(recorder: RunningRecorder, provider: Http2Provider) -> Http2Client:
    return Http2Client(tunnel_socket(recorder, provider.port), client_tls(recorder), "localhost")


@pytest.mark.parametrize("name", CASES)
def test_the_client_sees_the_break(met: dict[str, Met], name: str) -> None:
    seen, sent = met[name], STAGES[name.partition(": ")[0]].sent
    if sent is None and not name.endswith("cancels"):
        assert (seen.end, b"502 Bad Gateway" in seen.body) == ("in order", True)
    else:
        assert (seen.body, seen.heads) == (sent or b"", int(sent is not None))
        assert seen.end == ("reset CANCEL" if name.endswith("cancels") else "reset INTERNAL_ERROR")


@pytest.mark.parametrize("name", CASES)
def test_the_break_is_recorded_as_the_providers(met: dict[str, Met], name: str) -> None:
    row, stage = met[name].row, STAGES[name.partition(": ")[0]]
    text = row["choices"][0]["content"] if row["choices"] else None
    assert (row["outcome"], text) == (stage.outcome, stage.text)
    assert row["status_code"] == (None if stage.sent is None else 200)
    assert (row["request_bytes"], row["response_bytes"]) == (len(BODY), len(stage.sent or b""))


@contextmanager
def asking(answer: Answer, data: Path, authority: Path) -> Iterator[tuple[RunningRecorder, Http2Provider, Http2Client]]:
    """A recorder between a provider and a client of HTTP/2."""
    with ExitStack() as stack:
        provider = stack.enter_context(Http2Provider(server_context(authority), answer))
        recorder = stack.enter_context(RunningRecorder(data, *trusting(authority)))
        yield recorder, provider, stack.enter_context(over_http2(recorder, provider))


def drain(state: H2Connection, last_stream: int) -> None:
    """Say that a connection takes no more requests than it has, and go on with those."""
    state._prepare_for_sending([GoAwayFrame(0, last_stream_id=last_stream, error_code=ErrorCodes.NO_ERROR)])


def test_a_connection_that_is_drained_brings_its_answers_to_their_end(data: Path, authority: Path) -> None:
    """Load balancers do this when they are renewed, and after so many requests on one connection."""

    def answer(state: H2Connection, stream: int) -> None:
        begin(state, stream, STREAM)
        drain(state, stream)
        state.send_data(stream, FINISH + DONE, end_stream=True)

    with asking(answer, data, authority) as (_recorder, provider, client):
        for number in range(3):
            client.ask(PATH, BODY, user_agent=f"client/{number}")
            assert (client.read_to_the_end(), client.end) == (WHOLE, "in order")
            client.renew()
        assert provider.connections == 3
    rows = query(data, "SELECT outcome, response_bytes, user_agent FROM exchanges ORDER BY started_at, exchange_id")
    assert [tuple(row.values()) for row in rows] == [("complete", len(WHOLE), f"client/{n}") for n in range(3)]


def test_a_request_that_a_drained_connection_does_not_take(data: Path, authority: Path) -> None:
    def refuse(state: H2Connection, _stream: int) -> None:
        drain(state, 0)

    with asking(refuse, data, authority) as (_recorder, _provider, client):
        client.ask(PATH, BODY)
        assert b"takes no more requests" in client.read_to_the_end()
    (row,) = query(data, "SELECT outcome, outcome_detail, status_code FROM exchanges")
    assert row == {
        "outcome": "upstream_aborted",
        "outcome_detail": "the server takes no more requests on this connection",
        "status_code": None,
    }


def test_informational_answers_and_trailers(data: Path, authority: Path) -> None:
    def answer(state: H2Connection, stream: int) -> None:
        state.send_headers(stream, [(":status", "103"), ("link", "</a>")])
        begin(state, stream, WHOLE)
        state.send_headers(stream, [("x-checksum", "1234")], end_stream=True)

    with asking(answer, data, authority) as (_recorder, _provider, client):
        client.ask(PATH, BODY)
        assert client.read_to_the_end() == WHOLE
    assert client.heads == [
        [(":status", "103"), ("link", "</a>")],
        [(":status", "200"), ("content-type", "text/event-stream")],
    ]
    assert client.trailers == [("x-checksum", "1234")]
    (row,) = query(data, "SELECT outcome, status_code FROM exchanges")
    assert row == {"outcome": "complete", "status_code": 200}


def test_the_same_from_a_provider_of_http1(data: Path) -> None:
    read = []

    def answer(conversation: Conversation) -> None:
        read.append(b"".join(iter(conversation.read_chunk, b"")))
        conversation.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        conversation.start(Trailer="X-Checksum")
        conversation.send(WHOLE)
        conversation.wfile.write(b"0\r\nX-Checksum: 1234\r\n\r\n")

    with (
        ScriptedServer(answer) as server,
        RunningRecorder(data, "--upstream", server.url) as recorder,
        Http2Client(recorder.connect(), client_tls(recorder), "localhost") as client,
    ):
        client.ask(PATH, BODY)  # of no announced length, which HTTP/2 needs not
        assert client.read_to_the_end() == WHOLE
    assert client.heads[0] == [(":status", "103"), ("link", "</a>")]
    assert client.trailers == [("x-checksum", "1234")]
    assert read == [BODY]


def test_a_connection_that_breaks_ends_all_its_streams(data: Path, authority: Path) -> None:
    def answer(state: H2Connection, stream: int) -> None:
        begin(state, stream, STREAM)
        if stream > 1:
            state.close_connection(ErrorCodes.PROTOCOL_ERROR)

    with asking(answer, data, authority) as (_recorder, _provider, client):
        client.ask(PATH, BODY)
        client.read(len(STREAM))
        client.renew()
        client.ask(PATH, BODY)
        client.read_to_the_end()
    rows = query(data, "SELECT outcome, choices[1].content AS text FROM exchanges")
    assert rows == [{"outcome": "upstream_aborted", "text": TEXT}] * 2
