"""That what a socket brings passes at once and unchanged, past mitmproxy's layers where these are known, else by them.

A recorder runs with a spy in its process, which counts what the route past the layers has passed on, and can have
another release of a package than the one that is there.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded
from tests.support.clients.http2 import Http2Client, begin
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
    read_exactly,
    trusting,
    tunnel_socket,
)
from tests.support.processes.recorder import RunningRecorder, clean_environment, query
from tests.support.servers.authority import server_context
from tests.support.servers.scripted import Conversation, Script, ScriptedServer, Turns, in_step

pytestmark = pytest.mark.slow

LAST = b"0\r\n\r\n"
EVENTS = [event(f"{number} ") for number in range(20)] + [FINISH, DONE]
SPY = """
import atexit
import importlib.metadata
import json

version = importlib.metadata.version
importlib.metadata.version = lambda name: "99.0" if name == {other!r} else version(name)

from mitmproxy.proxy import mode_servers
from tapeline.pipeline.proxy.fast_path import bypass

take = bypass.Bypass.take
passed_on = []

def counted(self, data):
    rest = take(self, data)
    passed_on.append(rest is None)
    return rest

bypass.Bypass.take = counted

@atexit.register
def tell():
    handled_by = mode_servers.ProxyConnectionHandler.handle_connection.__module__
    with open({path!r}, "w") as file:
        json.dump({{"handled_by": handled_by, "passed_on": str(sum(passed_on))}}, file)
"""
REQUEST = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {KEY}\r\nContent-Length: %d\r\n\r\n"


class Spy:
    """Looks into a recorder's process."""

    def __init__(self, folder: Path, other: str = "") -> None:
        self._path = folder / "told.json"
        (folder / "sitecustomize.py").write_text(SPY.format(other=other, path=str(self._path)))
        self.environment = clean_environment(PYTHONPATH=str(folder))

    @property
    def passed_on(self) -> int:
        """How often something went past the layers."""
        return int(self._told["passed_on"])

    @property
    def handled_by(self) -> str:
        """Whose way a connection is read in."""
        return self._told["handled_by"].partition(".")[0]

    @property
    def _told(self) -> dict[str, str]:
        told: dict[str, str] = json.loads(self._path.read_text())
        return told


@contextmanager
def spied_road(kind: str, data: Path, script: Script, authority: Path, spy: Spy) -> Iterator[Road]:
    tls = kind == "tls"
    with ScriptedServer(script, server_context(authority) if tls else None) as server:
        options = trusting(authority) if tls else ("--upstream", server.url)
        with RunningRecorder(data, *options, environment=spy.environment) as recorder:
            yield Road(recorder, server, tls)


def send_request(connection: socket.socket) -> None:
    body = chat(stream=True)
    connection.sendall((REQUEST % len(body)).encode() + body)


def read_head(connection: socket.socket) -> None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize(
    ("kind", "other"), [("plain", ""), ("tls", ""), ("plain", "h11"), ("tls", "mitmproxy"), ("tls", "pyOpenSSL")]
)
def test_events_go_past_the_layers_of_known_releases_alone(
    kind: str, other: str, data: Path, authority: Path, tmp_path: Path
) -> None:
    client_has_read = Turns()
    spy = Spy(tmp_path, other)
    with spied_road(kind, data, in_step(EVENTS, client_has_read), authority, spy) as road:
        connection = road.open()
        for _ in range(2):
            send_request(connection)
            read_head(connection)
            for sent in EVENTS:
                read_exactly(connection, chunk(sent))
                client_has_read.give()
            read_exactly(connection, LAST)
        connection.close()
    rows = query(data, "SELECT outcome, response_bytes FROM exchanges")
    assert rows == [{"outcome": "complete", "response_bytes": sum(map(len, EVENTS))}] * 2
    assert spy.handled_by == ("mitmproxy" if other in ("h11", "mitmproxy") else "tapeline")
    # The first event may come with the head, and finds the route.
    assert spy.passed_on == 0 if other else spy.passed_on >= 2 * (len(EVENTS) - 2)


def answer_in_step(listener: socket.socket, context: ssl.SSLContext, client_has_read: Turns) -> None:
    """A provider of HTTP/2 that has one request, and sends each event when the client has read the one before."""
    state = H2Connection(H2Configuration(client_side=False))
    with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
        state.initiate_connection()
        connection.sendall(state.data_to_send())
        while not any(isinstance(event, StreamEnded) for event in state.receive_data(connection.recv(65_536))):
            connection.sendall(state.data_to_send())
        begin(state, 1)
        for data in EVENTS:
            state.send_data(1, data)
            connection.sendall(state.data_to_send())
            client_has_read.take()
        state.end_stream(1)
        connection.sendall(state.data_to_send())
        while connection.recv(65_536):
            pass


@pytest.mark.parametrize("other", ["", "h2"])
def test_events_of_http2_go_past_the_layers(other: str, data: Path, authority: Path, tmp_path: Path) -> None:
    client_has_read, context, spy = Turns(), server_context(authority), Spy(tmp_path, other)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        ThreadPoolExecutor() as threads,
        RunningRecorder(data, *trusting(authority), environment=spy.environment) as recorder,
    ):
        provider = threads.submit(answer_in_step, listener, context, client_has_read)
        tunnelled = tunnel_socket(recorder, listener.getsockname()[1])
        with Http2Client(tunnelled, client_tls(recorder), "localhost") as client:
            client.ask(PATH, chat(stream=True))
            for number in range(len(EVENTS)):
                expected = b"".join(EVENTS[: number + 1])
                assert client.read(len(expected)) == expected
                client_has_read.give()
            assert client.read_to_the_end() == b"".join(EVENTS)
            assert client.end == "in order"
        provider.result()
    (row,) = query(data, "SELECT outcome, response_bytes FROM exchanges")
    assert row == {"outcome": "complete", "response_bytes": sum(map(len, EVENTS))}
    assert spy.passed_on == 0 if other else spy.passed_on >= len(EVENTS) - 2


@pytest.mark.parametrize("kind", ROADS)
def test_a_body_that_is_cut_anywhere_is_the_same_body(kind: str, data: Path, authority: Path, tmp_path: Path) -> None:
    """The provider writes what makes no whole chunk, or several of them, and the end with the last or without."""
    answers = 40
    cuts = random.Random(7)

    def cut_anywhere(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start()
        chunks = [*map(chunk, EVENTS), LAST]
        while chunks:
            count = cuts.choice((1, 1, 1, 2, 5))
            together, chunks = b"".join(chunks[:count]), chunks[count:]
            cut = cuts.choice((0, 0, 1, 2, 3, len(together) // 2, len(together) - 1))
            for part in (together[:cut], together[cut:]):
                conversation.wfile.write(part)
                time.sleep(cuts.choice((0, 0.002)))

    spy = Spy(tmp_path)
    with spied_road(kind, data, cut_anywhere, authority, spy) as road:
        connection = road.connect()
        for _ in range(answers):
            assert ask(connection, chat(stream=True)) == (200, b"".join(EVENTS))
        connection.close()
    rows = query(data, "SELECT outcome, response_bytes FROM exchanges")
    assert rows == [{"outcome": "complete", "response_bytes": sum(map(len, EVENTS))}] * answers
    assert spy.passed_on


@pytest.mark.parametrize("kind", ROADS)
def test_events_that_are_written_at_once_stay_chunks_of_their_own(kind: str, data: Path, authority: Path) -> None:
    body = b"".join(map(chunk, EVENTS))

    def at_once(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + body + LAST
        )

    with open_road(kind, data, at_once, authority) as road:
        connection = road.open()
        for _ in range(3):
            send_request(connection)
            read_head(connection)
            read_exactly(connection, body + LAST)
        connection.close()
    rows = query(data, "SELECT outcome, response_bytes, len(event_offsets_us) AS events FROM exchanges")
    assert rows == [{"outcome": "complete", "response_bytes": sum(map(len, EVENTS)), "events": len(EVENTS)}] * 3


@pytest.mark.parametrize("kind", ROADS)
def test_a_provider_waits_for_a_client_that_does_not_read(kind: str, data: Path, authority: Path) -> None:
    piece, pieces = b"x" * 8000, 4000
    sent: list[int] = []

    def pour(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start()
        for number in range(pieces):
            conversation.send(piece)
            sent.append(number)
        conversation.end()

    with open_road(kind, data, pour, authority) as road:
        connection = road.connect()
        connection.request("POST", PATH, chat(stream=True), {"Authorization": KEY})
        seen = 0
        while len(sent) == 0 or len(sent) != seen:
            seen = len(sent)
            time.sleep(0.5)
        assert 0 < seen < pieces
        assert connection.getresponse().read() == piece * pieces
        connection.close()
    (row,) = query(data, "SELECT response_bytes FROM exchanges")
    assert row["response_bytes"] == len(piece) * pieces


def test_the_end_of_a_connection_that_comes_with_the_last_event(data: Path, authority: Path, tmp_path: Path) -> None:
    """A TLS connection says that it ends within itself, here in the same read as an event."""
    client_has_read = Turns()

    def break_off(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start()
        for data in EVENTS[:5]:
            conversation.send(data)
            client_has_read.take()
        connection = conversation.connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        conversation.send(EVENTS[5])
        connection.settimeout(0)
        with suppress(OSError):
            connection.unwrap()
        conversation.hang_up()

    spy = Spy(tmp_path)
    with spied_road("tls", data, break_off, authority, spy) as road:
        connection = road.open()
        send_request(connection)
        read_head(connection)
        for sent in EVENTS[:5]:
            read_exactly(connection, chunk(sent))
            client_has_read.give()
        read_exactly(connection, chunk(EVENTS[5]))
        assert connection.recv(1) == b""
        connection.close()
    (row,) = query(data, "SELECT outcome, response_bytes FROM exchanges")
    assert row == {"outcome": "upstream_aborted", "response_bytes": sum(map(len, EVENTS[:6]))}
    assert spy.passed_on
