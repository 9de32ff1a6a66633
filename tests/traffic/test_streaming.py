"""Bytes pass through the recorder at once and unchanged, in both directions, with TLS and without.

Nothing here is judged by time. One side sends the next piece only when the other has read the one before: a proxy
that gathers or holds back comes to a standstill, and the wait for it fails.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.clients.wire import DONE, FINISH, KEY, PATH, ROADS, ask, chat, event, open_road
from tests.support.processes.recorder import documents, query, query_until
from tests.support.servers.scripted import Conversation, Turns, in_step

pytestmark = pytest.mark.slow

WORDS = ["Chunk ", "by ", "chunk, ", "as ", "they ", "come."]
EVENTS = [*map(event, WORDS), FINISH, DONE]
BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Grüße, 東京 🙂"}, "finish_reason": "stop"}
        ],
    },
    ensure_ascii=False,
).encode()
MEGABYTES = 20


@pytest.fixture(params=ROADS)
def kind(request: pytest.FixtureRequest) -> str:
    """The road that a test takes."""
    road: str = request.param
    return road


def begin(connection: HTTPConnection, **headers: str) -> None:
    """The head of a chat request, whose body is to follow."""
    connection.putrequest("POST", PATH, skip_accept_encoding=True)
    for name, value in {"Authorization": KEY, "Content-Type": "application/json", **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()


def test_each_event_is_read_before_the_next_is_sent(kind: str, data: Path, authority: Path) -> None:
    client_has_read = Turns()
    with open_road(kind, data, in_step(EVENTS, client_has_read), authority) as road:
        connection = road.connect()
        connection.request("POST", PATH, chat(stream=True), {"Authorization": KEY})
        response = connection.getresponse()
        for sent in EVENTS:
            assert response.read1() == sent
            client_has_read.give()
        assert response.read() == b""
        connection.close()
    (row,) = query(data, "SELECT * FROM exchanges")
    assert (row["outcome"], row["choices"][0]["content"]) == ("complete", "".join(WORDS))
    assert len(set(row["event_offsets_us"])) == len(EVENTS)


def test_the_head_of_an_answer_does_not_wait_for_its_body(data: Path, authority: Path) -> None:
    client_has_read = Turns()

    def head_first(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start(X_Request_Id="req-1")
        client_has_read.take()
        conversation.send(b"".join(EVENTS))
        conversation.end()

    with open_road("tls", data, head_first, authority) as road:
        connection = road.connect()
        connection.request("POST", PATH, chat(stream=True), {"Authorization": KEY})
        response = connection.getresponse()
        assert response.headers["X-Request-Id"] == "req-1"
        client_has_read.give()
        assert response.read() == b"".join(EVENTS)
        connection.close()


@pytest.mark.parametrize("framing", ["chunked", "with a length"])
def test_a_request_is_read_while_it_is_sent(kind: str, framing: str, data: Path, authority: Path) -> None:
    body = chat(text="first half, second half")
    halves = body[: len(body) // 2], body[len(body) // 2 :]
    server_has_read = Turns()

    def read_halves(conversation: Conversation) -> None:
        for half in halves:
            got = conversation.read_chunk() if framing == "chunked" else conversation.read(len(half))
            assert got == half
            server_has_read.give()
        if framing == "chunked":
            assert conversation.read_chunk() == b""
        conversation.answer(BODY)

    with open_road(kind, data, read_halves, authority) as road:
        connection = road.connect()
        chunked = framing == "chunked"
        begin(connection, **({"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": str(len(body))}))
        for half in halves:
            connection.send(b"%x\r\n%b\r\n" % (len(half), half) if chunked else half)
            server_has_read.take()
        if chunked:
            connection.send(b"0\r\n\r\n")
        assert connection.getresponse().read() == BODY
        connection.close()
    (document,) = documents(data)
    assert document["request"] == json.loads(body)
    assert document["exchange"]["request_bytes"] == len(body)


def test_a_compressed_stream_passes_as_it_is(kind: str, data: Path, authority: Path) -> None:
    compressor = zlib.compressobj(wbits=31)
    pieces = [compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH) for piece in EVENTS]
    pieces.append(compressor.flush())
    client_has_read = Turns()

    def zipped(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start(Content_Encoding="gzip")
        for piece in pieces:
            conversation.send(piece)
            client_has_read.take()
        conversation.end()

    with open_road(kind, data, zipped, authority) as road:
        connection = road.connect()
        connection.request("POST", PATH, chat(stream=True), {"Authorization": KEY, "Accept-Encoding": "gzip"})
        response = connection.getresponse()
        for piece in pieces:
            assert response.read1() == piece
            client_has_read.give()
        assert response.read() == b""
        connection.close()
    (row,) = query(data, "SELECT * FROM exchanges")
    assert row["choices"][0]["content"] == "".join(WORDS)
    assert row["response_bytes"] == sum(map(len, pieces))
    assert len(set(row["event_offsets_us"])) == len(EVENTS)


def test_a_compressed_request_is_read(data: Path, authority: Path) -> None:
    body = gzip.compress(chat(text="squeezed"), mtime=0)

    def take(conversation: Conversation) -> None:
        assert conversation.read_body() == body
        conversation.answer(BODY)

    with open_road("plain", data, take, authority) as road:
        connection = road.connect()
        assert ask(connection, body, **{"Content-Encoding": "gzip"}) == (200, BODY)
        connection.close()
    (document,) = documents(data)
    assert document["request"] == json.loads(chat(text="squeezed"))
    assert document["exchange"]["request_bytes"] == len(body)


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_body_in_pieces_of_any_size_is_the_same_body(size: int, data: Path, authority: Path) -> None:
    zipped = gzip.compress(BODY, mtime=0)
    pieces = [zipped[at : at + size] for at in range(0, len(zipped), size)]

    def in_pieces(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start("application/json", Content_Encoding="gzip")
        for piece in pieces:
            conversation.send(piece)
        conversation.end()

    with open_road("tls", data, in_pieces, authority) as road:
        connection = road.connect()
        assert ask(connection, chat()) == (200, zipped)
        connection.close()
    (document,) = documents(data)
    assert document["response"] == json.loads(BODY)
    assert document["exchange"]["response_bytes"] == len(zipped)


def test_a_large_request_passes_whole(kind: str, data: Path, authority: Path) -> None:
    body = chat(text="x0123456789abcdef" * (MEGABYTES * 1024 * 1024 // 17))
    got: list[bytes] = []

    def take(conversation: Conversation) -> None:
        got.append(hashlib.sha256(conversation.read_body()).digest())
        conversation.answer(BODY)

    with open_road(kind, data, take, authority) as road:
        connection = road.connect()
        assert ask(connection, body) == (200, BODY)
        connection.close()
    assert got == [hashlib.sha256(body).digest()]
    (row,) = query(data, "SELECT request_bytes, response_bytes, outcome, prompt_characters FROM exchanges")
    asked = json.loads(body)["messages"][0]["content"]
    assert row == {
        "request_bytes": len(body),
        "response_bytes": len(BODY),
        "outcome": "complete",
        "prompt_characters": len(asked),
    }


def test_an_answer_that_comes_before_the_request_ends(kind: str, data: Path, authority: Path) -> None:
    refusal = b'{"error": {"message": "Too large", "type": "invalid_request_error"}}'

    def refuse_early(conversation: Conversation) -> None:
        conversation.read(10)
        conversation.answer(refusal, status=413, Connection="close")
        conversation.hang_up()

    with open_road(kind, data, refuse_early, authority) as road:
        connection = road.connect()
        begin(connection, Content_Length="1000")
        connection.send(b"{" + b" " * 99)
        response = connection.getresponse()
        assert (response.status, response.read()) == (413, refusal)
        connection.close()
        # The exchange is over though nothing more is heard of its request: it is there while the recorder still runs.
        (row,) = query_until(data, "SELECT outcome, status_code, error_message, request_bytes FROM exchanges", 1)
    assert row == {"outcome": "http_error", "status_code": 413, "error_message": "Too large", "request_bytes": 100}


def test_a_connection_that_is_used_again_is_timed_once(kind: str, data: Path, authority: Path) -> None:
    def answer(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.answer(BODY)

    with open_road(kind, data, answer, authority) as road:
        connection = road.connect()
        for _ in range(3):
            assert ask(connection, chat()) == (200, BODY)
        connection.close()
    rows = query(data, "SELECT connect_us, tls_us FROM exchanges ORDER BY started_at, exchange_id")
    assert [row["connect_us"] is not None for row in rows] == [True, False, False]
    assert [row["tls_us"] is not None for row in rows] == [kind == "tls", False, False]
