"""Several ways in at once, another proxy behind the recorder, HTTP/2, and who can reach the port."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tapeline.pipeline.demo import BuiltInProvider
from tests.support.clients.http2 import Http2Client, Http2Provider, begin, endless, streaming
from tests.support.clients.wire import DONE, FINISH, KEY, PATH, client_tls, event, trusting, tunnel_socket
from tests.support.machine.programs import output_of, require
from tests.support.processes.recorder import RunningRecorder, documents, query, query_until
from tests.support.servers.authority import server_context
from tests.support.servers.scripted import WAIT_SECONDS

pytestmark = pytest.mark.slow

WORDS = ["Frame ", "by ", "frame"]
STREAM = b"".join(map(event, WORDS))
HEADERS = {"Authorization": KEY}
QUESTION = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}


def post(url: str, proxy: str | None = None, model: str = "gpt-4o-mini") -> httpx.Response:
    with httpx.Client(proxy=proxy, trust_env=False, timeout=WAIT_SECONDS) as client:
        return client.post(url + PATH, json=QUESTION | {"model": model}, headers=HEADERS)


def test_several_modes_at_once(data: Path, provider: BuiltInProvider) -> None:
    with BuiltInProvider(pace=0) as second:
        modes = ("regular", f"reverse:{provider.url}", f"reverse:{second.url}")
        with RunningRecorder(data, *(part for mode in modes for part in ("--mode", mode))) as recorder:
            regular, first_reverse, second_reverse = recorder.addresses
            answers = [
                post(provider.url, proxy=regular),
                post(first_reverse, model="gpt-4o"),
                post(second_reverse, model="qwen3"),
                post(second.url, proxy=regular, model="gpt-4.1"),
            ]
        rows = query(data, "SELECT mode, port, model FROM exchanges ORDER BY started_at, exchange_id")
        assert [tuple(row.values()) for row in rows] == [
            ("regular", provider.port, "gpt-4o-mini"),
            ("reverse", provider.port, "gpt-4o"),
            ("reverse", second.port, "qwen3"),
            ("regular", second.port, "gpt-4.1"),
        ]
    assert [document["response"] for document in documents(data)] == [answer.json() for answer in answers]
    assert [sent.request["model"] for sent in provider.sent] == ["gpt-4o-mini", "gpt-4o"]


def test_through_another_proxy(data: Path, provider: BuiltInProvider) -> None:
    """The built-in provider is the proxy here, and answers for the hosts that it is asked to reach."""
    with RunningRecorder(data, "--mode", f"upstream:{provider.url}") as recorder:
        answer = post("http://api.router402.xyz", proxy=recorder.address)
    (document,) = documents(data)
    exchange = document["exchange"]
    assert document["response"] == answer.json()
    assert (exchange["mode"], exchange["host"], exchange["port"]) == ("upstream", "api.router402.xyz", 80)
    assert [sent.host for sent in provider.sent] == ["api.router402.xyz"]


def test_other_traffic_passes_and_is_not_recorded(data: Path, provider: BuiltInProvider) -> None:
    with RunningRecorder(data, "--upstream", provider.url) as recorder:
        models = httpx.get(f"{recorder.address}/v1/models", headers=HEADERS, trust_env=False, timeout=WAIT_SECONDS)
        assert post(recorder.address).status_code == 200
    assert models.json()["object"] == "list"
    assert query(data, "SELECT path FROM exchanges") == [{"path": PATH}]


@pytest.mark.parametrize("mode", ["regular", "reverse:http://127.0.0.1:1"])
def test_a_port_without_an_address_is_open_to_this_machine_alone(mode: str, data: Path) -> None:
    with RunningRecorder(data, "--mode", f"{mode}@0") as recorder:
        port = urlsplit(recorder.address).port
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        # Linux gives each of 127.0.0.0/8 to this machine: whoever listens everywhere listens there, too.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=10).close()


@pytest.fixture
def http2() -> Any:
    """The module that httpx speaks HTTP/2 by."""
    return pytest.importorskip("h2", reason="httpx speaks HTTP/2 by the h2 package")


def ask_by_http2(recorder: RunningRecorder, port: int, streams: int = 1) -> list[httpx.Response]:
    """Chat requests over one connection, one after the other."""
    with httpx.Client(
        http1=False,
        http2=True,
        proxy=recorder.address,
        verify=client_tls(recorder),
        trust_env=False,
        timeout=WAIT_SECONDS,
    ) as client:
        url = f"https://localhost:{port}{PATH}"
        return [client.post(url, json=QUESTION | {"stream": True}, headers=HEADERS) for _ in range(streams)]


def test_http2_on_both_sides(http2: Any, data: Path, authority: Path) -> None:
    with (
        Http2Provider(server_context(authority), streaming(*map(event, WORDS), FINISH, DONE)) as provider,
        RunningRecorder(data, *trusting(authority)) as recorder,
    ):
        answers = ask_by_http2(recorder, provider.port, streams=3)
    assert [(answer.http_version, answer.content) for answer in answers] == [("HTTP/2", STREAM + FINISH + DONE)] * 3
    rows = query(data, "SELECT outcome, http_version, choices[1].content AS text, response_bytes FROM exchanges")
    assert (
        rows
        == [
            {
                "outcome": "complete",
                "http_version": "HTTP/2.0",
                "text": "".join(WORDS),
                "response_bytes": len(STREAM + FINISH + DONE),
            }
        ]
        * 3
    )
    assert [document["request"] for document in documents(data)] == list(map(json.loads, provider.requests))


def test_http2_for_the_client_alone(data: Path, provider: BuiltInProvider) -> None:
    """A reverse proxy's port takes TLS as well, and with it HTTP/2, whatever the provider behind it speaks."""
    curl = require("curl")
    if b"HTTP2" not in output_of(curl, "--version"):
        pytest.skip("this curl does not speak HTTP/2")
    question = json.dumps(QUESTION | {"stream": True})
    with RunningRecorder(data, "--upstream", provider.url) as recorder:
        url = recorder.address.replace("http://127.0.0.1", "https://localhost") + PATH
        trust = ("--http2", "--cacert", str(recorder.certificate))
        body = output_of(curl, "-sS", *trust, "-H", f"Authorization: {KEY}", "--data", question, url)
    assert body == provider.sent[0].body
    (row,) = query(data, "SELECT scheme, http_version, outcome, response_bytes FROM exchanges")
    assert tuple(row.values()) == ("http", "HTTP/2.0", "complete", len(body))


def break_off(state: Any, stream: int) -> None:
    begin(state, stream, *map(event, WORDS))
    state.reset_stream(stream, 2)


def test_a_stream_that_an_http2_provider_resets(http2: Any, data: Path, authority: Path) -> None:
    with (
        Http2Provider(server_context(authority), break_off) as provider,
        RunningRecorder(data, *trusting(authority)) as recorder,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        ask_by_http2(recorder, provider.port)
    (row,) = query(data, "SELECT outcome, choices[1].content AS text FROM exchanges")
    assert row == {"outcome": "upstream_aborted", "text": "".join(WORDS)}


def test_a_stream_that_an_http2_client_cancels(http2: Any, data: Path, authority: Path) -> None:
    """The connection stays open, so that it tells nothing of who ended the stream."""
    with (
        Http2Provider(server_context(authority), endless(*map(event, WORDS))) as provider,
        RunningRecorder(data, *trusting(authority)) as recorder,
        Http2Client(tunnel_socket(recorder, provider.port), client_tls(recorder), "localhost") as client,
    ):
        client.ask(PATH, json.dumps(QUESTION).encode())
        client.read(len(STREAM))
        client.reset()
        provider.left.take()
        (row,) = query_until(data, "SELECT outcome, choices[1].content AS text FROM exchanges", 1)
    assert row == {"outcome": "client_aborted", "text": "".join(WORDS)}
