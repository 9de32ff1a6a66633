"""The openai SDK through a real recorder: what it returned, what was sent and what is recorded are the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from tapeline.pipeline.demo import BuiltInProvider, JsonObject, SentResponse
from tests.support.clients.reading import joined, recorded_summary, summary
from tests.support.clients.wire import client_tls, trusting
from tests.support.processes.recorder import RunningRecorder, documents, query
from tests.support.servers.authority import server_context

pytestmark = pytest.mark.slow

QUESTION: Any = [{"role": "user", "content": "Hello!"}]
PARAMETER: JsonObject = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETER}}]
ASKED: dict[str, JsonObject] = {
    "plain": {"model": "gpt-4o-mini"},
    "long": {"model": "claude-sonnet-4.5"},
    "two parallel tools": {"model": "gpt-4o", "tools": TOOLS},
    "reasoning": {"model": "deepseek-reasoner"},
    "three choices": {"model": "qwen3", "n": 3},
    "refusal": {"model": "gpt-4.1-mini"},
    "cut by length": {"model": "gpt-4o-mini", "max_tokens": 2},
    "log probabilities": {"model": "gpt-4o-mini", "logprobs": True, "top_logprobs": 2},
    "many scripts, compressed": {"model": "llama-3.3-70b"},
}
ROADS = ("reverse", "regular, TLS")
CASES = [(road, name, streamed) for road in ROADS for name in ASKED for streamed in (False, True)]
TIMES = (
    "request_sent_us",
    "response_headers_us",
    "first_event_us",
    "first_token_us",
    "last_token_us",
    "ended_us",
)
USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")


@dataclass
class Exchange:
    """One call as the SDK, the provider and the recorder have it."""

    returned: JsonObject
    sent: SentResponse
    row: JsonObject = field(default_factory=dict)
    shown: JsonObject = field(default_factory=dict)


Session = dict[tuple[str, str, bool], Exchange]


@pytest.fixture(scope="module")
def session(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Every question asked on every road, streaming and not, through one recorder a road."""
    found: Session = {}
    for road in ROADS:
        data = tmp_path_factory.mktemp("recordings")
        tls = server_context(authority) if road != "reverse" else None
        with BuiltInProvider(pace=0, ssl_context=tls) as provider:
            options = trusting(authority) if tls else ("--upstream", provider.url)
            with (
                RunningRecorder(data, *options) as recorder,
                make_client(recorder, provider, tls is not None) as client,
            ):
                for name in ASKED:
                    for streamed in (False, True):
                        found[road, name, streamed] = ask(client, provider, name, streamed)
        asked = [exchange for (where, *_), exchange in found.items() if where == road]
        rows = query(data, "SELECT * FROM exchanges ORDER BY started_at, exchange_id")
        for exchange, row, shown in zip(asked, rows, documents(data), strict=True):
            exchange.row, exchange.shown = row, shown
    return found


def make_client(recorder: RunningRecorder, provider: BuiltInProvider, tls: bool) -> openai.OpenAI:
    if not tls:
        return openai.OpenAI(api_key="sk-test", base_url=f"{recorder.address}/v1", max_retries=0)
    through = openai.DefaultHttpxClient(proxy=recorder.address, verify=client_tls(recorder))
    base_url = f"https://localhost:{provider.port}/v1"
    return openai.OpenAI(api_key="sk-test", base_url=base_url, max_retries=0, http_client=through)


def ask(client: openai.OpenAI, provider: BuiltInProvider, name: str, streamed: bool) -> Exchange:
    before = len(provider.sent)
    create: Any = client.chat.completions.create
    if streamed:
        chunks = create(messages=QUESTION, **ASKED[name], stream=True, stream_options={"include_usage": True})
        returned = joined(chunk.model_dump(exclude_unset=True) for chunk in chunks)
    else:
        returned = create(messages=QUESTION, **ASKED[name]).model_dump(exclude_unset=True)
    return Exchange(returned, provider.wait_for_sent(before + 1)[-1])


@pytest.fixture(params=CASES, ids=lambda case: ", ".join((*case[:2], "streamed" if case[2] else "whole")))
def exchange(request: pytest.FixtureRequest, session: Session) -> Exchange:
    return session[request.param]


def test_what_the_client_read_is_recorded(exchange: Exchange) -> None:
    row = exchange.row
    assert row["outcome"] == "complete"
    assert row["reassembly_problems"] == []
    assert recorded_summary(row) == summary(exchange.returned)
    assert row["response_id"] == exchange.returned["id"]
    assert {name: row[name] for name in USAGE} == {name: exchange.returned["usage"][name] for name in USAGE}
    details = exchange.returned["usage"]["completion_tokens_details"]
    assert row["reasoning_tokens"] == details["reasoning_tokens"]
    assert row["usage_source"] == "reported"


def test_the_answer_is_the_one_that_comes_without_streaming(exchange: Exchange) -> None:
    assert exchange.shown["response"] == exchange.sent.completion
    assert exchange.shown["request"] == exchange.sent.request


def test_headers_are_kept_on_both_sides(exchange: Exchange) -> None:
    row, asked = exchange.row, exchange.sent.request_headers
    kept = {header["name"]: header["value"] for header in row["request_headers"]}
    assert row["user_agent"] == asked["user-agent"]
    for name in ("content-type", "content-length", "x-stainless-lang", "accept"):
        assert kept[name] == asked[name]
    assert "authorization" not in kept
    answered = {header["name"] for header in row["response_headers"]}
    assert {"content-type", "x-request-id", "openai-processing-ms", "x-ratelimit-remaining-requests"} <= answered


def test_bytes_and_events_are_counted_as_sent(exchange: Exchange) -> None:
    row, sent = exchange.row, exchange.sent
    assert row["response_bytes"] == len(sent.body)
    assert row["request_bytes"] == int(sent.request_headers["content-length"])
    assert row["streamed"] is (sent.events > 0)
    assert len(row["event_offsets_us"] or []) == sent.events
    assert len(row["event_sizes"] or []) == sent.events


def test_times_are_in_order(exchange: Exchange) -> None:
    row, streamed = exchange.row, exchange.sent.events > 0
    names = TIMES if streamed else ("request_sent_us", "response_headers_us", "first_byte_us", "ended_us")
    times = [row[name] for name in names]
    assert None not in times
    assert times == sorted(times)
    assert times[0] >= 0
    if streamed:
        assert row["event_offsets_us"] == sorted(row["event_offsets_us"])
        kinds = [row[name] for name in ("first_content_us", "first_reasoning_us", "first_tool_call_us")]
        assert row["first_token_us"] == min(time for time in kinds if time is not None)
    else:
        assert row["first_token_us"] is None


def test_roads_are_told_apart(session: Session) -> None:
    told = {
        road: {exchange.row["mode"] for (where, *_), exchange in session.items() if where == road} for road in ROADS
    }
    assert told == {"reverse": {"reverse"}, "regular, TLS": {"regular"}}
    tls = next(exchange.row for (road, *_), exchange in session.items() if road != "reverse")
    assert (tls["scheme"], tls["host"]) == ("https", "localhost")
    assert tls["tls_us"] > 0


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> tuple[openai.APIStatusError, JsonObject]:
    """A rate limit, as the SDK raises it and as it is recorded."""
    data = tmp_path_factory.mktemp("recordings")
    with (
        BuiltInProvider(pace=0) as provider,
        RunningRecorder(data, "--upstream", provider.url) as recorder,
        make_client(recorder, provider, tls=False) as client,
        pytest.raises(openai.RateLimitError) as raised,
    ):
        client.chat.completions.create(model="demo-429", messages=QUESTION)
    (row,) = query(data, "SELECT * FROM exchanges")
    return raised.value, row


def test_an_error_is_recorded_as_the_client_saw_it(refused: tuple[openai.APIStatusError, JsonObject]) -> None:
    error, row = refused
    assert isinstance(error.body, dict)
    assert (row["outcome"], row["status_code"]) == ("http_error", error.status_code)
    assert row["status_code"] == 429
    recorded = {name: row[f"error_{name}"] for name in ("type", "code", "message", "param")}
    assert recorded == error.body
    assert row["usage_source"] == "absent"
    assert [row[name] for name in USAGE] == [None, None, None]


def test_an_errors_limits_are_kept(refused: tuple[openai.APIStatusError, JsonObject]) -> None:
    error, row = refused
    kept = {header["name"]: header["value"] for header in row["response_headers"]}
    assert error.response.headers["retry-after"] == "2"
    for name in ("retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "x-request-id"):
        assert kept[name] == error.response.headers[name]
