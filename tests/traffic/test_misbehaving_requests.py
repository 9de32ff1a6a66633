"""Requests that are legal and seldom, and some that are neither: they reach the provider as they were sent, and are
recorded or left alone as they should.

Clients write to a socket here what no library would; both ends are compared byte by byte.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients.http2 import Http2Client, Http2Provider, streaming
from tests.support.clients.wire import (
    DONE,
    FINISH,
    KEY,
    PATH,
    ROADS,
    Road,
    ask,
    chat,
    client_tls,
    event,
    open_road,
    read_all,
    read_exactly,
    trusting,
    tunnel_socket,
)
from tests.support.machine.programs import output_of, require
from tests.support.processes.recorder import RunningRecorder, documents, query
from tests.support.servers.authority import server_context
from tests.support.servers.scripted import Conversation, Turns

pytestmark = pytest.mark.slow

STREAM = event("Hi") + FINISH + DONE
ANSWER = json.dumps(
    {"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
).encode()
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
BODY = chat()


@pytest.fixture(params=ROADS)
def kind(request: pytest.FixtureRequest) -> str:
    """The road that a test takes."""
    road: str = request.param
    return road


class Listener:
    """A provider that notes what it reads, and replies with the same bytes always."""

    def __init__(self, reply: bytes = REPLY) -> None:
        self.reply = reply
        self.read: list[tuple[str, bytes]] = []
        self.headers: list[list[tuple[str, str]]] = []
        self.connections: set[int] = set()

    def __call__(self, conversation: Conversation) -> None:
        headers = conversation.headers
        chunked = headers["Transfer-Encoding"] == "chunked"
        body = b"".join(iter(conversation.read_chunk, b"")) if chunked else conversation.read(length_of(conversation))
        self.read.append((conversation.requestline, body))
        self.headers.append(headers.items())
        self.connections.add(conversation.client_address[1])
        conversation.wfile.write(self.reply)
        if conversation.request_version == "HTTP/1.0":
            conversation.hang_up()


def length_of(conversation: Conversation) -> int:
    return int(conversation.headers["Content-Length"] or 0)


def head(*lines: str, target: str = f"POST {PATH} HTTP/1.1", length: int | None = len(BODY)) -> bytes:
    """A request's head."""
    framing = [] if length is None else [f"Content-Length: {length}"]
    return "\r\n".join([target, "Host: localhost", f"Authorization: {KEY}", *framing, *lines, "", ""]).encode()


def say(road: Road, sent: bytes, expected: bytes, *, closes: bool = False) -> None:
    """Send bytes on a connection, and read the answer that is expected, no more and no less."""
    with road.open() as connection:
        connection.sendall(sent)
        if closes:
            assert read_all(connection) == expected
        else:
            read_exactly(connection, expected)


def rows(data: Path, columns: str = "outcome, status_code, request_bytes, response_bytes") -> list[tuple[Any, ...]]:
    found = query(data, f"SELECT {columns} FROM exchanges ORDER BY started_at, exchange_id")
    return [tuple(row.values()) for row in found]


WHOLE = ("complete", 200, len(BODY), len(ANSWER))


def test_requests_that_do_not_wait_for_answers(kind: str, data: Path, authority: Path) -> None:
    bodies = [chat(text=text) for text in ("one", "two, which is longer", "three")]
    with open_road(kind, data, listener := Listener(), authority) as road:
        say(road, b"".join(head(length=len(body)) + body for body in bodies), REPLY * 3)
    assert [body for _, body in listener.read] == bodies
    assert [document["request"] for document in documents(data)] == list(map(json.loads, bodies))
    assert len({connection for (connection,) in rows(data, "client_connection_id")}) == 1


def test_a_connection_goes_on_after_errors(kind: str, data: Path, authority: Path) -> None:
    refusal = b'{"error": {"message": "Slow down"}}'
    statuses = iter([429, 200, 500, 200])

    def answer(conversation: Conversation) -> None:
        conversation.read_body()
        status = next(statuses)
        conversation.answer(ANSWER if status == 200 else refusal, status=status)

    with open_road(kind, data, answer, authority) as road:
        connection = road.connect()
        read = [ask(connection, BODY) for _ in range(4)]
        connection.close()
    assert read == [(429, refusal), (200, ANSWER), (500, refusal), (200, ANSWER)]
    assert [outcome for (outcome,) in rows(data, "outcome")] == ["http_error", "complete", "http_error", "complete"]
    assert len({connection for (connection,) in rows(data, "client_connection_id")}) == 1


def test_a_client_that_asks_whether_it_may_go_on(kind: str, data: Path, authority: Path) -> None:
    """mitmproxy gives the leave by itself, so that the provider is not asked."""
    with open_road(kind, data, listener := Listener(), authority) as road, road.open() as connection:
        connection.sendall(head("Expect: 100-continue"))
        read_exactly(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(BODY)
        read_exactly(connection, REPLY)
    assert [body for _, body in listener.read] == [BODY]
    assert "expect" not in {name.lower() for name, _ in listener.headers[0]}
    assert rows(data) == [WHOLE]


def test_curl_sends_a_large_body(data: Path, authority: Path, tmp_path: Path) -> None:
    """From a megabyte on curl asks whether it may go on."""
    body = chat(text="x0123456789abcdef" * 130_000)
    (tmp_path / "body.json").write_bytes(body)
    with open_road("plain", data, listener := Listener(), authority) as road:
        options = ("-sS", "-H", "Content-Type: application/json", "--data-binary", f"@{tmp_path / 'body.json'}")
        assert output_of(require("curl"), *options, road.recorder.address + PATH) == ANSWER
    assert [hashlib.sha256(read).digest() for _, read in listener.read] == [hashlib.sha256(body).digest()]
    assert rows(data) == [("complete", 200, len(body), len(ANSWER))]


def test_a_body_in_chunks_of_all_sizes(kind: str, data: Path, authority: Path) -> None:
    body = chat(text="y" * 70_000)
    cuts = [0, 1, 3, 4, 20_000, len(body)]
    chunks = [body[start:end] for start, end in pairwise(cuts)]
    sent = b"".join(b"%X;note=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    with open_road(kind, data, listener := Listener(), authority) as road:
        say(road, head("Transfer-Encoding: chunked", length=None) + sent, REPLY)
    assert [read for _, read in listener.read] == [body]
    assert rows(data) == [("complete", 200, len(body), len(ANSWER))]


def test_trailers_of_a_request(kind: str, data: Path, authority: Path) -> None:
    trailers = b""

    def read_trailers(conversation: Conversation) -> None:
        nonlocal trailers
        assert conversation.read(len(chunked)) == chunked
        trailers = conversation.rfile.readline() + conversation.rfile.readline()
        conversation.wfile.write(REPLY)

    chunked = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
    with open_road(kind, data, read_trailers, authority) as road:
        say(road, head("Transfer-Encoding: chunked", length=None) + chunked + b"X-Checksum: 1234\r\n\r\n", REPLY)
    assert trailers == b"X-Checksum: 1234\r\n\r\n"
    assert rows(data) == [WHOLE]


def test_trailers_of_an_http2_request(data: Path, authority: Path) -> None:
    with (
        Http2Provider(server_context(authority), streaming(STREAM)) as provider,
        RunningRecorder(data, *trusting(authority)) as recorder,
        Http2Client(tunnel_socket(recorder, provider.port), client_tls(recorder), "localhost") as client,
    ):
        client.begin(PATH, BODY[:10])
        client.finish(BODY[10:], trailers=[("x-checksum", "1234")])
        assert client.read_to_the_end() == STREAM
    assert (provider.requests, provider.trailers) == ([BODY], [[("x-checksum", "1234")]])
    assert rows(data) == [("complete", 200, len(BODY), len(STREAM))]


def test_a_client_of_http_1_0(data: Path, authority: Path) -> None:
    with open_road("plain", data, listener := Listener(), authority) as road:
        say(road, head(target=f"POST {PATH} HTTP/1.0") + BODY, REPLY, closes=True)
    assert listener.read == [(f"POST {PATH} HTTP/1.0", BODY)]
    assert rows(data, "outcome, http_version") == [("complete", "HTTP/1.0")]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_other_methods_pass_and_are_not_recorded(method: str, data: Path, authority: Path) -> None:
    """GET of the same path lists what OpenAI has stored."""
    reply = REPLY[: -len(ANSWER)] if method == "HEAD" else REPLY
    with open_road("plain", data, listener := Listener(reply), authority) as road:
        say(road, head(target=f"{method} {PATH} HTTP/1.1", length=None), reply)
    assert listener.read == [(f"{method} {PATH} HTTP/1.1", b"")]
    assert rows(data) == []


def test_a_websocket_on_the_path(data: Path, authority: Path) -> None:
    """It passes, frame by frame, and is no exchange of the kind that is recorded."""
    key = base64.b64encode(bytes(16)).decode()
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
    upgraded = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()
    question, reply = b"\x81\x85\0\0\0\0Hello", b"\x81\x02Hi"
    goodbye, farewell = b"\x88\x82\0\0\0\0\x03\xe8", b"\x88\x02\x03\xe8"

    def converse(conversation: Conversation) -> None:
        conversation.wfile.write(upgraded)
        frame = conversation.read(len(question))
        assert unmasked(frame) == b"Hello"
        conversation.wfile.write(reply)
        conversation.wait_for_hang_up_after(len(goodbye), farewell)

    lines = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}")
    with open_road("plain", data, converse, authority) as road, road.open() as connection:
        connection.sendall(head(*lines, target=f"GET {PATH} HTTP/1.1", length=None))
        read_exactly(connection, upgraded)
        connection.sendall(question)
        read_exactly(connection, reply)
        connection.sendall(goodbye)
        read_exactly(connection, farewell)
    assert rows(data) == []


def unmasked(frame: bytes) -> bytes:
    """The payload of a short frame from a client (RFC 6455, section 5.3)."""
    mask, payload = frame[2:6], frame[6:]
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def test_two_requests_with_the_same_ids(kind: str, data: Path, authority: Path) -> None:
    ids = {"X-Request-Id": "r-1", "X-Client-Request-Id": "c-1", "Idempotency-Key": "i-1"}
    with open_road(kind, data, Listener(), authority) as road:
        connection = road.connect()
        assert [ask(connection, BODY, **ids) for _ in range(2)] == [(200, ANSWER)] * 2
        connection.close()
    found = rows(data, "exchange_id, response_id, request_fingerprint, outcome")
    assert len({exchange_id for exchange_id, *_ in found}) == 2
    assert len({tuple(rest) for _, *rest in found}) == 1


def test_very_long_headers(kind: str, data: Path, authority: Path) -> None:
    long, longer = "r" * 60_000, "s" * 300_000
    reply = REPLY.replace(b"\r\n", b"\r\nX-Request-Id: %b\r\nX-Other: %b\r\n" % (longer.encode(), longer.encode()), 1)
    with open_road(kind, data, listener := Listener(reply), authority) as road:
        say(road, head(f"X-Request-Id: {long}") + BODY, reply)
    assert ("X-Request-Id", long) in listener.headers[0]
    (document,) = documents(data)
    exchange = document["exchange"]
    assert {"name": "x-request-id", "value": long} in exchange["request_headers"]
    assert {"name": "x-request-id", "value": longer} in exchange["response_headers"]
    assert longer not in json.dumps([h for h in exchange["response_headers"] if h["name"] != "x-request-id"])


def test_a_request_without_a_body(data: Path, authority: Path) -> None:
    with open_road("plain", data, listener := Listener(), authority) as road:
        say(road, head(length=0) + head(length=None), REPLY * 2)
    assert [body for _, body in listener.read] == [b"", b""]
    assert rows(data) == [("complete", 200, 0, len(ANSWER))] * 2


def test_more_bytes_than_were_announced(data: Path, authority: Path) -> None:
    """The first exchange is whole; what stands behind it is no request, and is refused."""
    with open_road("plain", data, listener := Listener(), authority) as road, road.open() as connection:
        connection.sendall(head() + BODY + b"and more\r\n\r\n")
        read = read_all(connection)
    assert read.startswith(REPLY + b"HTTP/1.1 400 ")
    assert [body for _, body in listener.read] == [BODY]
    assert rows(data) == [WHOLE]


def test_a_length_beside_chunks(data: Path, authority: Path) -> None:
    """Chunks are what counts (RFC 9112, section 6.3); the length passes as it is."""
    with open_road("plain", data, listener := Listener(), authority) as road:
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
        say(road, head("Transfer-Encoding: chunked", length=5) + chunked, REPLY)
    assert [body for _, body in listener.read] == [BODY]
    assert ("Content-Length", "5") in listener.headers[0]
    assert rows(data) == [WHOLE]


def test_a_length_that_is_none(data: Path, authority: Path) -> None:
    """Such a request cannot be passed on: nobody knows where it ends."""
    with open_road("plain", data, listener := Listener(), authority) as road, road.open() as connection:
        connection.sendall(head("Content-Length: many", length=None) + BODY)
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")
    assert listener.read == []
    assert rows(data) == [("client_aborted", None, 0, 0)]


@pytest.mark.parametrize("ends_early", [False, True])
def test_an_answer_that_streams_before_the_request_is_whole(
    ends_early: bool, kind: str, data: Path, authority: Path
) -> None:
    """A client may wait for the answer's end before it goes on, and a server for the request's: neither has to."""
    halves: list[bytes] = []
    client_has_read = Turns()

    def answer_early(conversation: Conversation) -> None:
        first = conversation.read(20)
        conversation.start()
        conversation.send(STREAM)
        if ends_early:
            conversation.end()
        client_has_read.take()
        halves.extend((first, conversation.read(len(BODY) - 20)))
        if not ends_early:
            conversation.end()

    with open_road(kind, data, answer_early, authority) as road:
        connection = road.connect()
        for _ in range(2):
            connection.putrequest("POST", PATH)
            connection.putheader("Content-Length", str(len(BODY)))
            connection.endheaders(BODY[:20])
            response = connection.getresponse()
            assert (response.read() if ends_early else response.read1()) == STREAM
            client_has_read.give()
            connection.send(BODY[20:])
            assert response.read() == b""
        connection.close()
    assert halves == [BODY[:20], BODY[20:]] * 2
    assert rows(data) == [("complete", 200, len(BODY), len(STREAM))] * 2


def test_an_http2_client_that_gives_its_request_up_when_it_is_refused(data: Path, authority: Path) -> None:
    """The exchange is over with it: the connection stays open, and stopping the recorder waits for nothing."""
    refusal = b'{"error": {"message": "Too large"}}'

    def refuse(state: Any, stream: int) -> None:
        state.send_headers(stream, [(":status", "413"), ("content-type", "application/json")])
        state.send_data(stream, refusal, end_stream=True)

    with (
        Http2Provider(server_context(authority), refuse, at_once=True) as provider,
        RunningRecorder(data, *trusting(authority)) as recorder,
        Http2Client(tunnel_socket(recorder, provider.port), client_tls(recorder), "localhost") as client,
    ):
        client.begin(PATH, BODY[:20])
        assert client.read_to_the_end() == refusal
        client.reset()
        provider.left.take()
        assert recorder.stop() == 0
        assert "running answers" not in recorder.said
    assert rows(data) == [("http_error", 413, 20, len(refusal))]


def test_a_request_of_random_bytes(kind: str, data: Path, authority: Path) -> None:
    body = os.urandom(100_000)
    with open_road(kind, data, listener := Listener(), authority) as road:
        say(road, head(length=len(body)) + body, REPLY)
    assert [read for _, read in listener.read] == [body]
    ((outcome, text),) = rows(data, "outcome, request_text")
    assert (outcome, base64.b64decode(text.removeprefix("base64:"))) == ("complete", body)
