"""The built-in provider over real sockets: it sends its completion, whole or in chunks, as every system does."""

from __future__ import annotations

import json
import socket
import ssl
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection, IncompleteRead
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from mitmproxy.certs import CertStore
from openai import APIStatusError, DefaultHttpxClient, OpenAI
from tests.support.clients.joining import events, join

from tapeline.pipeline.demo import (
    ANSWERS,
    SYSTEMS,
    BuiltInProvider,
    CannedAnswer,
    Choice,
    JsonObject,
    Pace,
    SentResponse,
    completion,
    find_answer,
    reports_usage,
    system_for,
)

PLAIN_HOST = "api.openai.com"
HOSTS = [*SYSTEMS, PLAIN_HOST]
MESSAGES = [{"role": "user", "content": "Hello?"}]
KEY = "Bearer sk-demo-test"
WHOLE_MODELS = [model for model, turns in ANSWERS.items() if not turns[0].problem and not turns[0].cut]


@pytest.fixture(scope="module")
def provider() -> Iterator[BuiltInProvider]:
    with BuiltInProvider(pace=0) as running:
        yield running


def connect(provider: BuiltInProvider) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", provider.port, timeout=20)


def request(model: str, **parameters: object) -> JsonObject:
    return {"model": model, "messages": MESSAGES, **parameters}


def post(
    provider: BuiltInProvider, host: str, payload: JsonObject | bytes, key: str | None = KEY, accept: str = ""
) -> tuple[HTTPResponse, bytes]:
    path = system_for(host).base_path + "/chat/completions"
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = {"Host": host, "Accept-Encoding": accept} | ({"Authorization": key} if key else {})
    with closing(connect(provider)) as connection:
        connection.request("POST", path, data, headers)
        response = connection.getresponse()
        return response, response.read()


def last_sent(provider: BuiltInProvider, payload: JsonObject) -> SentResponse:
    """Wait for the provider to note its response to this request, and return it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for sent in provider.sent:
            if sent.request == payload:
                return sent
        time.sleep(0.005)
    raise AssertionError("the provider never noted the request")


def expected(payload: JsonObject, host: str, received: JsonObject) -> JsonObject:
    """Return the completion that the table holds for this request, with the id and second of the received one."""
    system = system_for(host)
    answer = find_answer(ANSWERS, payload, system)
    assert answer is not None
    whole = completion(answer, payload, system, created=received["created"]) | {"id": received["id"]}
    if "conversation_id" in whole:
        whole["conversation_id"] = received["conversation_id"]
    return whole


@pytest.mark.parametrize("mode", [{}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("model", WHOLE_MODELS)
def test_answer_is_the_completion(provider: BuiltInProvider, model: str, host: str, mode: JsonObject) -> None:
    payload = request(model, n=3, logprobs=True, top_logprobs=2, user=f"{host} {model} {mode}", **mode)
    response, data = post(provider, host, payload)
    got = join(events(data)) if mode else json.loads(data)
    want = expected(payload, host, got)
    sent = last_sent(provider, payload)
    assert sent.completion == want
    assert (sent.status, sent.body, sent.ended) == (response.status, data, "complete")
    assert sent.events == (len(events(data)) + 1 if mode else 0)
    assert list(sent.event_times) == sorted(sent.event_times)
    if not reports_usage(payload, system_for(host)):
        del want["usage"]
    assert got == want


def test_choices_come_interleaved_and_as_many_as_requested(provider: BuiltInProvider) -> None:
    _, data = post(provider, PLAIN_HOST, request("qwen3", stream=True, n=3))
    order = [chunk["choices"][0]["index"] for chunk in events(data)]
    assert order[:6] == [0, 1, 2, 0, 1, 2]
    texts = [choice["message"]["content"] for choice in join(events(data))["choices"]]
    assert texts == [choice.content for choice in ANSWERS["qwen3"][0].choices]


def test_max_tokens_cuts_the_answer(provider: BuiltInProvider) -> None:
    _, data = post(provider, PLAIN_HOST, request("claude-sonnet-4.5", max_tokens=5))
    got = json.loads(data)
    assert got["choices"][0]["message"]["content"] == "TCP slow start is how"
    assert (got["choices"][0]["finish_reason"], got["usage"]["completion_tokens"]) == ("length", 5)


@pytest.mark.parametrize(
    ("host", "payload", "status", "error"),
    [
        (PLAIN_HOST, request("no-such"), 404, {"type": "invalid_request_error", "code": "model_not_found"}),
        (PLAIN_HOST, b"{not json", 400, {"type": "invalid_request_error"}),
        (PLAIN_HOST, b"[]", 400, {"type": "invalid_request_error"}),
        (PLAIN_HOST, {"messages": MESSAGES}, 400, {"param": "model"}),
        ("api.router402.xyz", request("gpt-4o", messages=[]), 400, {"param": "messages"}),
        ("proxy.alfnrl.io", request("demo-503"), 503, {"code": "503"}),
        ("localhost:8080", request("demo-500"), 500, {"message": "Server Error"}),
    ],
)
def test_most_errors_come_in_the_usual_object(
    provider: BuiltInProvider, host: str, payload: JsonObject | bytes, status: int, error: JsonObject
) -> None:
    response, data = post(provider, host, payload)
    assert response.status == status
    assert error.items() <= json.loads(data)["error"].items()


def test_some_systems_have_errors_of_another_shape(provider: BuiltInProvider) -> None:
    response, data = post(provider, "api.example-llm.test", request("gpt-4o", temperature=3))
    assert (response.status, json.loads(data)["param"], json.loads(data)["code"]) == (422, "temperature", 422)
    response, data = post(provider, "api.router402.xyz", request("demo-429"))
    assert (response.status, response.headers["Retry-After"]) == (429, "2")
    assert response.headers.get_all("X-RateLimit-Remaining") == ["0"]
    assert "param" not in json.loads(data)["error"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.aiand.com", 401),
        ("proxy.alfnrl.io", 401),
        ("api.example-llm.test", 401),
        ("api.router402.xyz", 402),
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
    ],
)
def test_a_key_is_required_where_the_system_requires_one(provider: BuiltInProvider, host: str, status: int) -> None:
    response, _ = post(provider, host, request("gpt-4o-mini"), key=None)
    assert response.status == status


def test_the_model_may_be_left_out_where_the_system_allows_it(provider: BuiltInProvider) -> None:
    _, data = post(provider, "api.router402.xyz", {"messages": MESSAGES})
    assert json.loads(data)["model"] == "anthropic/claude-sonnet-4.5"


def test_error_event_then_done(provider: BuiltInProvider) -> None:
    payload = request("demo-error-event", stream=True)
    response, data = post(provider, "api.router402.xyz", payload)
    assert response.status == 200
    assert events(data)[-1] == {"error": {"message": "Provider error", "type": "server_error"}}
    sent = last_sent(provider, payload)
    assert (sent.ended, sent.error, sent.events) == ("error_event", events(data)[-1], 11)


@pytest.mark.parametrize("stream", [True, False])
def test_reset_breaks_the_body_off(provider: BuiltInProvider, stream: bool) -> None:
    payload = request("demo-reset", stream=stream)
    with pytest.raises(IncompleteRead) as broken:
        post(provider, PLAIN_HOST, payload)
    sent = last_sent(provider, payload)
    assert (sent.ended, sent.body) == ("reset", broken.value.partial)


def test_truncated_stream_ends_cleanly_without_done(provider: BuiltInProvider) -> None:
    _, data = post(provider, PLAIN_HOST, request("demo-truncated", stream=True))
    assert data.count(b"data: ") == 7
    assert b"[DONE]" not in data


@pytest.mark.parametrize("stream", [True, False])
def test_gzip_only_for_clients_that_accept_it(provider: BuiltInProvider, stream: bool) -> None:
    payload = request("llama-3.3-70b", stream=stream)
    response, plain = post(provider, "api.aiand.com", payload)
    assert response.headers["Content-Encoding"] is None
    response, zipped = post(provider, "api.aiand.com", payload, accept="br, gzip")
    assert response.headers["Content-Encoding"] == "gzip"
    text = zlib.decompress(zipped, wbits=31)
    assert text.count(b"data: ") == plain.count(b"data: ")
    assert text.endswith(plain[-8:])


def test_absolute_form_chooses_the_system_by_its_host(provider: BuiltInProvider) -> None:
    data = json.dumps(payload := request("gpt-4o-mini", user="absolute"))
    headers = {"Host": "api.aiand.com", "Authorization": KEY}
    with closing(connect(provider)) as connection:
        connection.request("POST", "http://api.router402.xyz/v1/chat/completions", data, headers)
        assert json.loads(connection.getresponse().read())["id"].startswith("gen-")
    sent = last_sent(provider, payload)
    assert (sent.host, sent.path) == ("api.router402.xyz", "/v1/chat/completions")


def test_tunnel_chooses_the_system_by_its_host(provider: BuiltInProvider) -> None:
    data = json.dumps(payload := request("gpt-4o-mini", user="tunnel"))
    with closing(connect(provider)) as connection:
        connection.set_tunnel("api.example-llm.test", 80)
        connection.request("POST", "/api/v1/chat/completions", data, {"Authorization": KEY})
        assert "completion" in json.loads(connection.getresponse().read())["object"]
    assert last_sent(provider, payload).host == "api.example-llm.test"


def test_chunked_request_and_connection_kept_alive(provider: BuiltInProvider) -> None:
    data = json.dumps(request("gpt-4o-mini")).encode()
    with closing(connect(provider)) as connection:
        for _ in range(2):
            connection.request("POST", "/v1/chat/completions", iter([data[:9], data[9:]]), encode_chunked=True)
            used = connection.sock
            assert json.loads(connection.getresponse().read())["choices"]
            assert connection.sock is used


def test_models_are_listed_and_other_paths_are_not(provider: BuiltInProvider) -> None:
    with closing(connect(provider)) as connection:
        connection.request("GET", "/v1/models")
        assert [row["id"] for row in json.loads(connection.getresponse().read())["data"]] == list(ANSWERS)
        connection.request("GET", "/elsewhere")
        assert json.loads(connection.getresponse().read())["error"]["code"] == "unknown_url"


@pytest.fixture
def endless() -> Iterator[BuiltInProvider]:
    answer = CannedAnswer("endless", (Choice("word " * 2000),), pace=Pace(first=0, gap=10))
    with BuiltInProvider(answers={"endless": (answer,)}) as running:
        yield running


def test_client_that_hangs_up_is_noted_quietly(endless: BuiltInProvider, capfd: pytest.CaptureFixture[str]) -> None:
    data = json.dumps(payload := request("endless", stream=True)).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data)
    with socket.create_connection(("127.0.0.1", endless.port), timeout=20) as client:
        client.sendall(head + data)
        assert client.recv(4096)
    sent = last_sent(endless, payload)
    assert sent.ended == "client_left"
    assert sent.events < 2000
    assert capfd.readouterr() == ("", "")


def test_stop_breaks_open_streams_off(endless: BuiltInProvider) -> None:
    with closing(connect(endless)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(request("endless", stream=True)))
        with connection.getresponse() as response:
            assert response.read1(1)
            endless.stop()
            with pytest.raises(IncompleteRead):
                response.read()
    assert [sent.ended for sent in endless.sent] == ["reset"]


def test_openai_sdk_reads_it(provider: BuiltInProvider) -> None:
    http_client = DefaultHttpxClient(trust_env=False)
    url = provider.url + "/v1"
    with OpenAI(base_url=url, api_key="sk-demo-test", max_retries=0, http_client=http_client) as client:
        create = client.chat.completions.create
        whole = create(model="gpt-4o", messages=[{"role": "user", "content": "Is it warm?"}]).model_dump()
        calls = whole["choices"][0]["message"]["tool_calls"]
        assert [call["function"]["name"] for call in calls] == ["get_weather"] * 2
        ask = "Explain TCP slow start."
        stream = create(model="claude-sonnet-4.5", messages=[{"role": "user", "content": ask}], stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert text == ANSWERS["claude-sonnet-4.5"][0].choices[0].content
        with pytest.raises(APIStatusError, match="Rate limit exceeded"):
            create(model="demo-429", messages=[{"role": "user", "content": ask}])


def test_https_where_a_context_is_given(tmp_path: Path) -> None:
    store = CertStore.from_store(tmp_path, "test", 2048)
    entry = store.get_cert("127.0.0.1", [x509.IPAddress(ip_address("127.0.0.1"))])
    (tmp_path / "server.pem").write_bytes(entry.cert.to_pem() + (tmp_path / "test-ca.pem").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    trust = ssl.create_default_context(cafile=tmp_path / "test-ca-cert.pem")
    with BuiltInProvider(pace=0, ssl_context=context) as provider:
        address = urlsplit(provider.url)
        assert (address.scheme, address.port) == ("https", provider.port)
        with closing(HTTPSConnection(address.netloc, timeout=20, context=trust)) as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps(request("qwen3", stream=True)))
            assert events(connection.getresponse().read())
