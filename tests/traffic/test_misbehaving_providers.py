"""Providers that break off at every stage, and answers that are legal and seldom: the client reads what it would have
read without a recorder, and the outcome says what happened.

The provider writes raw bytes here, and a raw socket reads them: heads are compared as well as bodies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tapeline.pipeline.demo import JsonObject
from tests.support.clients.wire import DONE, FINISH, PATH, ROADS, Road, chat, event, open_road, read_all, read_exactly
from tests.support.processes.recorder import query
from tests.support.servers.scripted import Conversation, Turns

pytestmark = pytest.mark.slow

WORDS = ["What ", "the ", "client ", "had ", "read."]
TEXT = "".join(WORDS)
STREAM = b"".join(map(event, WORDS))
WHOLE = STREAM + FINISH + DONE


def head(status: str = "200 OK", *lines: str, length: int | None = None) -> bytes:
    """A response's head."""
    framing = [] if length is None else [f"Content-Length: {length}"]
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: text/event-stream", *framing, *lines, "", ""]).encode()


def chunks(*pieces: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + last


CHUNKED = head("200 OK", "Transfer-Encoding: chunked")
IN_ORDER = head(length=len(WHOLE)) + WHOLE


@dataclass(frozen=True)
class Reply:
    """What a provider sends, how it leaves the connection, and what is to come of it."""

    sent: bytes
    outcome: str
    status: int | None = 200
    text: str | None = TEXT
    #: What the client reads, where it is not just what was sent; REFUSED stands for an answer of mitmproxy's.
    read: bytes | None = None
    #: "stays", "hangs up" or "resets".
    then: str = "stays"
    #: The value of a header that is recorded.
    header: str | None = None

    @property
    def to_read(self) -> bytes:
        return self.sent if self.read is None else self.read


REFUSED = b"HTTP/1.1 502 Bad Gateway\r\nServer: mitmproxy"
STAGES = {
    f"{then} {stage}": Reply(sent, outcome, status, text, read, then)
    for then in ("hangs up", "resets")
    for stage, sent, outcome, status, text, read in (
        ("before the answer", b"", "upstream_aborted", None, None, REFUSED),
        ("within the head", CHUNKED[:30], "upstream_aborted", None, None, REFUSED),
        ("after the head", CHUNKED, "upstream_aborted", 200, None, None),
        ("in mid-stream", CHUNKED + chunks(STREAM, last=b""), "upstream_aborted", 200, TEXT, None),
        ("after the finish reason", CHUNKED + chunks(STREAM + FINISH, last=b""), "complete", 200, TEXT, None),
        ("after [DONE]", CHUNKED + chunks(WHOLE, last=b""), "complete", 200, TEXT, None),
        ("before the length is full", head(length=len(WHOLE)) + STREAM, "upstream_aborted", 200, TEXT, None),
    )
}
SELDOM = {
    "103": Reply(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" + IN_ORDER, "complete"),
    "100": Reply(b"HTTP/1.1 100 Continue\r\n\r\n" + IN_ORDER, "complete"),
    "102, then 103": Reply(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + IN_ORDER, "complete"
    ),
    "103, and no more": Reply(
        b"HTTP/1.1 103 Early Hints\r\n\r\n", "upstream_aborted", None, None, REFUSED, then="hangs up"
    ),
    "trailers": Reply(
        head("200 OK", "Transfer-Encoding: chunked", "Trailer: X-Checksum")
        + chunks(WHOLE, last=b"0\r\nX-Checksum: 1234\r\nX-Cost: 0.1\r\n\r\n"),
        "complete",
    ),
    "204": Reply(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n", "invalid", 204, None),
    "304": Reply(b"HTTP/1.1 304 Not Modified\r\n\r\n", "http_error", 304, None),
    "307": Reply(
        head("307 Temporary Redirect", "Location: https://example.test/v1/chat/completions", length=0),
        "http_error",
        307,
        None,
    ),
    "a status nobody knows": Reply(head("999 Whatever", length=len(WHOLE)) + WHOLE, "http_error", 999),
    "no reason": Reply(b"HTTP/1.1 200 \r\n" + IN_ORDER.partition(b"\r\n")[2], "complete"),
    "ends with the connection": Reply(head() + WHOLE, "complete", then="hangs up"),
    "ends with the connection, by HTTP/1.0": Reply(
        head().replace(b"HTTP/1.1", b"HTTP/1.0") + WHOLE, "complete", then="hangs up"
    ),
    # Without a length or chunks a break cannot be told from the end, by nobody.
    "breaks without a length": Reply(head() + STREAM, "truncated", then="resets"),
    "more than the length": Reply(
        head(length=len(STREAM)) + WHOLE, "truncated", read=head(length=len(STREAM)) + STREAM
    ),
    "a length beside chunks": Reply(head("200 OK", "Transfer-Encoding: chunked", length=7) + chunks(WHOLE), "complete"),
    "a strange header": Reply(head("200 OK", "X Y: 1", length=len(WHOLE)) + WHOLE, "complete"),
    "bytes in a header": Reply(
        head("200 OK", "X-Request-Id: a~b", length=len(WHOLE)).replace(b"~", b"\0\xff\x1b") + WHOLE,
        "complete",
        header="a\0\ufffd\x1bb",
    ),
    "a folded header": Reply(head("200 OK", "X-Request-Id: a\r\n b", length=len(WHOLE)) + WHOLE, "complete"),
    "lines that end in LF": Reply(
        head(length=len(WHOLE)).replace(b"\r\n", b"\n") + WHOLE, "complete", read=head(length=len(WHOLE)) + WHOLE
    ),
    "no HTTP": Reply(b"SSH-2.0-OpenSSH\r\n\r\n", "upstream_aborted", None, None, REFUSED),
    "no chunk": Reply(CHUNKED + b"zz\r\n", "upstream_aborted", 200, None, CHUNKED),
}
REPLIES = STAGES | SELDOM


@dataclass
class Met:
    """What the client read of a reply, and its row."""

    read: bytes
    row: JsonObject = field(default_factory=dict)


@pytest.fixture(scope="module", params=ROADS)
def met(request: pytest.FixtureRequest, authority: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Met]:
    """Every reply, met by a client on one road."""
    data = tmp_path_factory.mktemp("recordings")
    # A reset overtakes what has not been read.
    client_has_read = {name: Turns() for name in REPLIES}

    def answer(conversation: Conversation) -> None:
        conversation.read_body()
        name = conversation.headers["User-Agent"]
        reply = REPLIES[name]
        conversation.wfile.write(reply.sent)
        if reply.then == "hangs up":
            conversation.hang_up()
        elif reply.then == "resets":
            client_has_read[name].take()
            conversation.reset()

    with open_road(request.param, data, answer, authority) as road:
        found = {name: Met(meet(road, name, client_has_read[name])) for name in REPLIES}
    for row in query(data, "SELECT * FROM exchanges"):
        found[row["user_agent"]].row = row
    return found


def meet(road: Road, name: str, has_read: Turns) -> bytes:
    """Ask for a reply, and read until the connection closes or, where it stays open, all that is to come."""
    body = chat(stream=True)
    lines = [f"POST {PATH} HTTP/1.1", "Host: localhost", f"User-Agent: {name}", f"Content-Length: {len(body)}", "", ""]
    reply = REPLIES[name]
    with road.open() as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        if reply.read == REFUSED:
            has_read.give()
            return read_all(connection)
        read_exactly(connection, reply.to_read)
        has_read.give()
        return reply.to_read + (b"" if reply.then == "stays" else read_all(connection))


@pytest.mark.parametrize("name", REPLIES)
def test_the_client_reads_what_the_provider_wrote(met: dict[str, Met], name: str) -> None:
    read, reply = met[name].read, REPLIES[name]
    if reply.read == REFUSED:
        assert read.removeprefix(reply.sent).startswith(REFUSED)
    else:
        assert read == reply.to_read


@pytest.mark.parametrize("name", REPLIES)
def test_the_outcome_says_what_happened(met: dict[str, Met], name: str) -> None:
    row, reply = met[name].row, REPLIES[name]
    text = row["choices"][0]["content"] if row["choices"] else None
    assert (row["outcome"], row["status_code"], text) == (reply.outcome, reply.status, reply.text)
    assert row["request_bytes"] == len(chat(stream=True))
    if reply.header is not None:
        assert reply.header in [header["value"] for header in row["response_headers"]]
