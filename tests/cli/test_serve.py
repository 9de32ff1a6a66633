"""`tapeline serve` over real sockets: clients get the recorded responses again."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import socket
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any

import openai
import pytest

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.demo import WORKLOAD, BuiltInProvider, Call, JsonObject, run_workload
from tapeline.pipeline.playback.recording import read_recording
from tapeline.pipeline.playback.server import RecordingServer
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse import database
from tests.support.clients.wire import DONE, FINISH, ask, chat, event
from tests.support.journals.journals import MadeUp, make_journal
from tests.support.processes.recorder import RunningRecorder, query, tapeline, tapeline_here
from tests.support.servers.serving import serving

pytestmark = pytest.mark.slow

RUN = "run-1"


def server_of(data: Path, run: str = RUN, **options: Any) -> RecordingServer:
    """Return a server in this process that does not wait."""
    directory = DataDirectory(data)
    seal(directory)
    database.load(directory)
    with database.querying(directory) as connection:
        return RecordingServer(read_recording(connection, run), **({"speed": 0} | options))


def connection_to(server: RecordingServer) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", server.server_port, timeout=20)


def streamed(*events: bytes, **more: Any) -> MadeUp:
    return MadeUp(body=b"".join(events), **more)


# A recording made through the server equals the recording that it serves.

SAME_COLUMNS = """
  host, path, request_fingerprint, outcome, status_code, streamed, error_raw, response_text, usage_raw,
  response_id, response_model, response_extra, choices, len(event_offsets_us) AS events, event_sizes
"""


def test_a_recording_of_the_server_is_the_recording_that_it_serves(data: Path) -> None:
    with (
        BuiltInProvider(pace=0) as provider,
        RunningRecorder(data, "--run", "before", "--mode", f"upstream:{provider.url}") as recorder,
    ):
        run_workload(WORKLOAD, proxy=recorder.address, provider_url=provider.url, concurrency=1)
    with (
        serving(data, "before") as served,
        RunningRecorder(data, "--run", "after", "--mode", f"upstream:{served.url}") as recorder,
    ):
        run_workload(WORKLOAD, proxy=recorder.address, provider_url=served.url, concurrency=1)
    assert "0 requests were not in the recording" in served.output
    before, after = (
        query(data, f"SELECT {SAME_COLUMNS} FROM exchanges WHERE run = '{run}' ORDER BY started_at, exchange_id")
        for run in ("before", "after")
    )
    assert len(before) == len(after) == len(WORKLOAD)
    leaving = sum(call.hang_up_after_events is not None for call in WORKLOAD)
    for one, other in zip(before, after, strict=True):
        # Where a client hangs up, chance decides how much of the response still reaches it.
        left = "client_aborted" in (one["outcome"], other["outcome"])
        leaving -= left
        assert left or other["outcome"] == one["outcome"]
        hidden = {"outcome"} | ({"choices", "events", "event_sizes"} if left else set())
        for name in one.keys() - hidden:
            assert other[name] == one[name], (name, one)
    assert leaving >= 0


# Clients.


@pytest.fixture
def recorded(data: Path, provider: BuiltInProvider) -> Path:
    """Record the built-in provider: a whole response, a stream with usage, and a rate limit."""
    bodies: list[JsonObject] = [
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]},
        {
            "model": "claude-sonnet-4.5",
            "messages": [{"role": "user", "content": "TCP?"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        {"model": "demo-429", "messages": [{"role": "user", "content": "Hello!"}]},
    ]
    headers = {"Authorization": "Bearer sk-test", "Content-Type": "application/json"}
    with RunningRecorder(data, "--run", RUN, "--upstream", provider.url) as recorder:
        calls = [Call("api.openai.com", "/v1/chat/completions", body, headers) for body in bodies]
        run_workload(calls, proxy=None, provider_url=recorder.address)
    return data


def test_the_openai_sdk_gets_what_was_recorded(recorded: Path) -> None:
    (recorded_row,) = query(recorded, "SELECT choices[1].content AS text FROM exchanges WHERE streamed")
    with server_of(recorded) as server:
        client = openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0)
        stream = client.chat.completions.create(
            model="claude-sonnet-4.5",
            messages=[{"role": "user", "content": "TCP?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        assert (
            "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == recorded_row["text"]
        )
        assert chunks[-1].usage is not None
        whole = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello!"}])
        assert whole.choices[0].message.content
        with pytest.raises(openai.RateLimitError) as limited:
            client.chat.completions.create(model="demo-429", messages=[{"role": "user", "content": "Hello!"}])
        assert limited.value.response.headers["retry-after"]
        assert {model.id for model in client.models.list()} == {"gpt-4o-mini", "claude-sonnet-4.5", "demo-429"}
        client.close()


def test_the_asynchronous_sdk_gets_the_same(recorded: Path) -> None:
    async def listen(url: str) -> str:
        async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello!"}], stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    (recorded_row,) = query(recorded, "SELECT choices[1].content AS text FROM exchanges WHERE model = 'gpt-4o-mini'")
    with server_of(recorded) as server:
        # The response was recorded whole; it is streamed because the request asks for a stream.
        assert asyncio.run(listen(f"{server.url}/v1")) == recorded_row["text"]


def test_a_request_that_was_not_recorded_gets_the_nearest_one_named(recorded: Path) -> None:
    with server_of(recorded) as server:
        client = openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0)
        with pytest.raises(openai.NotFoundError) as refused:
            client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello!"}], temperature=0.5
            )
        client.close()
        assert refused.value.code == "not_recorded"
        assert "temperature (recorded none, requested 0.5)" in refused.value.message
        assert server.unknown == [refused.value.body["message"]]  # type: ignore[index]


# The wire.


def test_any_path_prefix_works_and_connections_are_reused(data: Path) -> None:
    make_journal(data, [MadeUp()])
    with server_of(data) as server:
        connection = connection_to(server)
        for path in (
            "/v1/chat/completions",
            "/openai/deployments/x/chat/completions?api-version=1",
            "/chat/completions/",
        ):
            connection.request("POST", path, MadeUp().request)
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["id"]) == (200, "chatcmpl-1")
            assert response.headers["x-tapeline-exchange"]
        local_port = connection.sock.getsockname()[1]
        connection.request("GET", "/api/v1/models")
        assert json.loads(connection.getresponse().read())["data"][0]["id"] == "gpt-4o-mini"
        for method, path in (("GET", "/v1/files"), ("POST", "/v1/embeddings")):
            connection.request(method, path, b"{}" if method == "POST" else None)
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["error"]["code"]) == (404, "unknown_url")
        assert connection.sock.getsockname()[1] == local_port
        connection.close()


def test_requests_may_be_chunked_and_compressed(data: Path) -> None:
    make_journal(data, [MadeUp()])
    with server_of(data) as server:
        connection = connection_to(server)
        body = gzip.compress(MadeUp().request)
        parts = iter([body[:9], body[9:]])
        connection.request("POST", "/v1/chat/completions", parts, {"Content-Encoding": "gzip"}, encode_chunked=True)
        assert connection.getresponse().status == 200
        connection.close()


def test_a_header_that_is_not_ascii_keeps_its_bytes(data: Path) -> None:
    make_journal(data, [MadeUp(headers=[["x-request-id", "café 中"]])])
    with server_of(data) as server:
        connection = connection_to(server)
        connection.request("POST", "/v1/chat/completions", MadeUp().request)
        response = connection.getresponse()
        assert response.headers["x-request-id"].encode("latin-1").decode() == "café 中"
        assert json.loads(response.read())["id"] == "chatcmpl-1"
        connection.close()


@pytest.mark.parametrize("header", [b"Content-Length: many", b"Content-Length: -1", b"Transfer-Encoding: chunked"])
def test_a_request_without_a_length_is_refused(data: Path, header: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    make_journal(data, [MadeUp()])
    with server_of(data) as server:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n%b\r\n\r\nno size\r\n" % header)
            answer = client.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_request"
    assert capfd.readouterr().err == ""


def test_a_cut_stream_breaks_off_again_and_a_truncated_one_ends(data: Path) -> None:
    make_journal(data, [streamed(event("Hel"), ended=False)], "recorder-1")
    make_journal(data, [streamed(event("Hel"), content="Truncated")], "recorder-2")
    make_journal(data, [streamed(event("Hel"), FINISH, DONE, content="Whole")], "recorder-3")
    with server_of(data, "*") as server:
        for content, broken, done in (("Hello!", True, False), ("Truncated", False, False), ("Whole", False, True)):
            connection = connection_to(server)
            connection.request("POST", "/v1/chat/completions", MadeUp(content=content).request)
            response = connection.getresponse()
            try:
                body, is_broken = response.read(), False
            except IncompleteRead as cut:
                body, is_broken = cut.partial, True
            connection.close()
            assert (is_broken, DONE in body) == (broken, done), content
            assert b'"Hel"' in body


def test_repeated_requests_get_one_response_after_the_other(data: Path) -> None:
    make_journal(data, [MadeUp(text=text, started_at_us=1_795_255_200_000_000 + at) for at, text in enumerate("abc")])
    with server_of(data) as server:
        connection = connection_to(server)
        texts = [json.loads(ask(connection, MadeUp().request)[1])["choices"][0]["message"]["content"] for _ in range(4)]
        connection.close()
    assert texts == ["a", "b", "c", "c"]


def test_responses_keep_the_recorded_timing(data: Path) -> None:
    # The recorded response ended after 0.2 s: at this speed, the server is still waiting when it is stopped.
    make_journal(data, [MadeUp()])
    with server_of(data, speed=0.0001) as server:
        connection = connection_to(server)
        connection.request("POST", "/v1/chat/completions", MadeUp().request)
        connection.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.sock.recv(1)
        connection.close()


def test_a_request_with_a_credential_is_matched(data: Path) -> None:
    exchange = MadeUp(content="Use ghp_" + "a1B2" * 9)
    make_journal(data, [exchange])
    with server_of(data) as server:
        connection = connection_to(server)
        assert ask(connection, exchange.request)[0] == 200
        assert ask(connection, chat(text="Use none"))[0] == 404
        connection.close()
    assert query(data, "SELECT request_redactions AS n FROM exchanges") == [{"n": 1}]


# The process.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_and_ends_on_a_signal(data: Path, number: signal.Signals) -> None:
    make_journal(data, [MadeUp()])
    with serving(data, RUN) as served:
        connection = HTTPConnection(served.url.removeprefix("http://"), timeout=20)
        assert ask(connection, MadeUp().request)[0] == 200
        assert ask(connection, chat(text="What?"))[0] == 404
        connection.close()
        # The server keeps no file open, so recording and loading go on.
        make_journal(data, [MadeUp(content="Another")], "recorder-2")
        assert len(query(data, "SELECT 1 AS one FROM exchanges")) == 2
        assert served.stop(number) == 0
    assert "This request was not recorded. Nearest is exchange" in served.output
    assert "1 requests were not in the recording" in served.output


def test_a_run_or_port_that_cannot_be_used_gets_an_error_of_one_line(data: Path) -> None:
    bare = data.with_name("bare")
    make_journal(data, [MadeUp()])
    make_journal(bare, [MadeUp()], content="none")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        busy = tapeline("serve", RUN, "--data", data, "-p", port)
    nothing = tapeline_here("serve", "nonsense", "--data", data)
    without = tapeline_here("serve", RUN, "--data", bare)
    for result, word in (
        (busy, port),
        (nothing, "run-1"),
        (without, "1 of its 1 exchanges were recorded without content"),
    ):
        assert (result.returncode, result.stdout) == (2, ""), result.stderr
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert word in line
