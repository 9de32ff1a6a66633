"""LiteLLM's proxy through a real recorder: its mocks, and the built-in provider's responses as it passes them on."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import openai
import pytest

from tapeline.addons.tapeline_recorder.headers import fingerprint, load_salt
from tapeline.pipeline.demo import ANSWERS, BuiltInProvider, CannedAnswer, Choice, JsonObject, Pace
from tests.clients.real.calls import (
    STREAMED,
    TOOLS,
    WAYS,
    WHOLE,
    WITH_USAGE,
    Call,
    Calls,
    Refusals,
    all_rows,
    check_refusal,
    check_same,
    comparable,
    first_of,
    look_up,
    only_row,
    refusal,
    response_headers,
    sdk,
    send,
    streaming,
)
from tests.clients.real.servers import RealServer, needs, program
from tests.support.clients.reading import recorded_summary, summary
from tests.support.processes.recorder import RunningRecorder

needs("litellm")
pytestmark = pytest.mark.slow

MESSAGES = [{"role": "user", "content": "Hello!"}]
REQUESTS: dict[str, JsonObject] = {
    "words": {"model": "words"},
    "two choices": {"model": "words", "n": 2},
    "mocked tools": {"model": "tools", "tools": TOOLS},
    "a provider's tools": {"model": "through/gpt-4o", "tools": TOOLS},
    "a provider's reasoning": {"model": "through/deepseek-reasoner"},
    "a provider's choices": {"model": "through/qwen3", "n": 2},
    "a provider's log probabilities": {"model": "through/gpt-4o-mini", "logprobs": True, "top_logprobs": 2},
}
WRONG_KEY = "wrong key"
CASES = [(name, way) for name in REQUESTS for way in WAYS]
REFUSED: dict[str, tuple[int, JsonObject]] = {
    "unknown model": (400, {"model": "nobody-has-it"}),
    "no messages": (400, {"model": "words", "messages": "Hello!"}),
    "mocked limit": (429, {"model": "limited"}),
    "mocked fault": (500, {"model": "broken"}),
    "a status that nobody defines": (529, {"model": "overloaded"}),
    "a provider's limit": (429, {"model": "through/demo-429"}),
    "a provider's lack of money": (402, {"model": "through/demo-402"}),
}
# The provider's waits are shortened by this factor, so a stall of 30 s has to be written as 30 s / PACE.
PACE = 0.001
READ, UNREAD = "The text the client reads ", "and the text it does not read."
STALLS = CannedAnswer("a long silence", (Choice(READ + UNREAD),), pace=Pace(stall_at=6, stall=30_000 / PACE))


@dataclass(frozen=True)
class Proxy:
    """LiteLLM in front of the built-in provider."""

    url: str
    key: str
    provider: BuiltInProvider


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    key, log = f"sk-{secrets.token_hex(24)}", tmp_path_factory.mktemp("litellm") / "log"
    config = Path(__file__).with_name("litellm.yaml")
    command: list[str | Path] = [
        program("litellm", "litellm"),
        "--config",
        config,
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]
    with (
        BuiltInProvider(pace=PACE, answers={**ANSWERS, "stalls": (STALLS,)}) as provider,
        RealServer(
            command,
            log,
            LITELLM_MASTER_KEY=key,
            LITELLM_LOCAL_MODEL_COST_MAP="True",  # otherwise it fetches prices from the network
            PROVIDER_URL=f"{provider.url}/v1",
        ) as server,
    ):
        yield Proxy(server.url, key, provider)


@pytest.fixture(scope="module")
def calls(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """Send every request in every way."""
    data, made = tmp_path_factory.mktemp("recordings"), {}
    with RunningRecorder(data, "--upstream", proxy.url) as recorder, sdk(recorder, proxy.key) as client:
        for name, way in CASES:
            made[name, way] = send(client, {"messages": MESSAGES, **REQUESTS[name]}, way)
    look_up(made.values(), data)
    return made


@pytest.fixture(params=CASES, ids=", ".join)
def call(request: pytest.FixtureRequest, calls: Calls) -> Call:
    return calls[request.param]


def test_the_response_of_the_sdk_is_recorded(call: Call) -> None:
    check_same(call)


def test_the_key_is_not_recorded(proxy: Proxy, call: Call) -> None:
    assert call.row["api_key_id"].startswith("key-")
    assert proxy.key not in json.dumps([call.row, call.shown], default=str)


@pytest.mark.parametrize("way", [STREAMED, WITH_USAGE])
def test_a_stream_equals_the_response_without_streaming(calls: Calls, way: str) -> None:
    # A mock counts tokens only when it streams, and makes them up otherwise.
    streamed, whole = (comparable(calls["words", method], "id", "usage") for method in (way, WHOLE))
    assert streamed == whole


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["a provider's tools", "a provider's reasoning"])
def test_the_proxy_passes_on_the_providers_response(calls: Calls, proxy: Proxy, name: str, way: str) -> None:
    call = calls[name, way]
    sent = {sent.completion["id"]: sent.completion for sent in proxy.provider.sent if sent.completion}
    assert recorded_summary(call.row) == summary(sent[call.row["response_id"]])


def test_mocked_tool_calls(calls: Calls) -> None:
    tool_calls = calls["mocked tools", WHOLE].row["choices"][0]["tool_calls"]
    assert [(tool["id"], json.loads(tool["arguments"])) for tool in tool_calls] == [
        ("call_1", {"city": "Bonn"}),
        ("call_2", {"city": "Tōkyō"}),
    ]


@pytest.mark.parametrize("name", ["words", "a provider's tools"])
def test_the_cost_is_the_one_that_the_proxy_reports(calls: Calls, name: str) -> None:
    """A whole response has it in a header, a stream in its usage, and therefore only if usage was requested."""
    whole, streamed, with_usage = (calls[name, way] for way in WAYS)
    header = "x-litellm-response-cost"
    cost = Decimal(whole.headers[header]).quantize(Decimal("1E-12"))
    assert Decimal(str(whole.row["reported_cost"])) == cost > 0
    assert whole.row["reported_cost_source"] == header
    assert with_usage.row["reported_cost"] == with_usage.returned["usage"]["cost"] > 0
    assert with_usage.row["reported_cost_source"] == "usage.cost"
    assert (streamed.row["reported_cost"], streamed.row["reported_cost_source"]) == (None, None)


def test_a_model_without_a_price_has_no_cost(calls: Calls) -> None:
    row = calls["a provider's reasoning", WHOLE].row
    assert row["usage_source"] == "reported"
    assert (row["reported_cost"], row["reported_cost_source"]) == (None, None)


@pytest.mark.parametrize("way", WAYS)
def test_the_proxys_headers_about_the_call_are_kept(calls: Calls, way: str) -> None:
    call = calls["a provider's tools", way]
    headers = response_headers(call.row)
    for name in (
        "x-litellm-call-id",
        "x-litellm-model-id",
        "x-litellm-model-group",
        "x-litellm-model-name",
        "x-litellm-version",
        "x-litellm-attempted-retries",
        "x-litellm-attempted-fallbacks",
        "x-litellm-response-cost-original",
        "x-litellm-response-cost-input",
        "x-litellm-response-duration-ms",
        "x-litellm-overhead-duration-ms",
        "x-ratelimit-remaining-requests",
        "llm_provider-x-ratelimit-remaining-requests",
        "llm_provider-x-request-id",
    ):
        assert headers[name] == call.headers[name]
    assert headers["x-litellm-model-name"] == "openai/gpt-4o"


def test_the_proxys_headers_about_its_owner_are_not_kept(calls: Calls) -> None:
    call = calls["a provider's tools", WHOLE]
    for name in ("x-litellm-model-api-base", "x-litellm-key-spend"):
        assert name in call.headers
        assert name not in response_headers(call.row)


@pytest.fixture(scope="module")
def refusals(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Refusals:
    """Send every refused request in every way, and finally one with a wrong key."""
    data, wrong = tmp_path_factory.mktemp("recordings"), f"sk-{secrets.token_hex(24)}"
    raised = {}
    with RunningRecorder(data, "--upstream", proxy.url) as recorder:
        with sdk(recorder, proxy.key) as client:
            for name, (_, request) in REFUSED.items():
                for way in WAYS:
                    raised[name, way] = refusal(client, {"messages": MESSAGES, **request}, way)
        with sdk(recorder, wrong) as client:
            raised[WRONG_KEY, WHOLE] = refusal(client, {"messages": MESSAGES, "model": "words"}, WHOLE)
    rows = all_rows(data)
    assert wrong not in json.dumps(rows, default=str)
    return {case: (error, row) for (case, error), row in zip(raised.items(), rows, strict=True)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REFUSED)
def test_an_error_is_recorded_as_the_sdk_raised_it(refusals: Refusals, name: str, way: str) -> None:
    error, row = refusals[name, way]
    assert error.status_code == REFUSED[name][0]
    check_refusal(error, row)


def test_the_time_for_a_retry_is_kept(refusals: Refusals) -> None:
    """The proxy passes the provider's header on under another name."""
    error, row = refusals["a provider's limit", WHOLE]
    assert "retry-after" not in error.response.headers
    assert (
        response_headers(row)["llm_provider-retry-after"] == error.response.headers["llm_provider-retry-after"] == "2"
    )


def test_a_wrong_key_has_a_fingerprint_of_its_own(refusals: Refusals) -> None:
    error, row = refusals[WRONG_KEY, WHOLE]
    check_refusal(error, row)
    assert row["api_key_id"] != refusals["mocked limit", WHOLE][1]["api_key_id"]


def test_the_proxys_own_header_for_keys(proxy: Proxy, data: Path) -> None:
    """It has precedence over `authorization`, which may then hold the provider's key."""
    with RunningRecorder(data, "--upstream", proxy.url) as recorder, sdk(recorder, "of-the-provider") as client:
        request = {"messages": MESSAGES, "model": "words", "extra_headers": {"x-litellm-api-key": proxy.key}}
        call = send(client, request, WHOLE)
    look_up([call], data)
    check_same(call)
    assert call.row["api_key_id"] == fingerprint(proxy.key, load_salt(data / "salt"))
    assert proxy.key not in json.dumps(call.row, default=str)


def test_azures_sdk(proxy: Proxy, data: Path) -> None:
    """It has the key in another header, and the version in the query."""
    with (
        RunningRecorder(data, "--upstream", proxy.url) as recorder,
        openai.AzureOpenAI(api_key=proxy.key, azure_endpoint=recorder.address, api_version="2024-10-21") as client,
    ):
        call = send(client, {"messages": MESSAGES, "model": "words"}, STREAMED)
    look_up([call], data)
    check_same(call)
    assert call.row["path"] == "/openai/deployments/words/chat/completions?api-version=2024-10-21"
    assert call.row["api_key_id"] == fingerprint(proxy.key, load_salt(data / "salt"))


def test_a_response_from_the_proxys_cache_is_an_exchange_of_its_own(proxy: Proxy, data: Path) -> None:
    """It has the id of the response that it repeats, and a header of its own."""
    request = {"messages": MESSAGES, "model": "through/qwen3", "extra_body": {"cache": {"use-cache": True}}}
    ways = (WHOLE, WHOLE, WITH_USAGE, WITH_USAGE)
    with RunningRecorder(data, "--upstream", proxy.url) as recorder, sdk(recorder, proxy.key) as client:
        made = [send(client, request, way) for way in ways]
    look_up(made, data)
    for call in made:
        check_same(call)
    ids = [call.row["response_id"] for call in made]
    assert (ids[0], ids[2]) == (ids[1], ids[3])
    assert ids[0] != ids[2]
    assert ["x-litellm-cache-key" in response_headers(call.row) for call in made] == [False, True, False, True]


def test_an_error_in_mid_stream(proxy: Proxy, data: Path) -> None:
    with (
        RunningRecorder(data, "--upstream", proxy.url) as recorder,
        sdk(recorder, proxy.key) as client,
        pytest.raises(openai.APIError) as raised,
    ):
        send(client, {"messages": MESSAGES, "model": "through/demo-error-event"}, STREAMED)
    row = only_row(data)
    assert isinstance(raised.value.body, dict)
    assert (row["outcome"], row["status_code"], row["reassembly_problems"]) == ("stream_error", 200, [])
    assert {name: row[f"error_{name}"] for name in raised.value.body} == raised.value.body
    (provided,) = [sent for sent in proxy.provider.sent if sent.ended == "error_event"]
    assert provided.completion is not None
    text = row["choices"][0]["content"]
    assert text
    assert provided.completion["choices"][0]["message"]["content"].startswith(text)


def test_a_client_that_leaves_in_mid_stream(proxy: Proxy, data: Path) -> None:
    with RunningRecorder(data, "--upstream", proxy.url) as recorder, sdk(recorder, proxy.key) as client:
        with streaming(client, {"messages": MESSAGES, "model": "through/stalls"}) as texts:
            text = "".join(first_of(texts, len(READ.rstrip())))
        row = only_row(data)
    assert READ.startswith(text)
    assert (row["outcome"], row["choices"][0]["content"], row["choices"][0]["finish_reason"]) == (
        "client_aborted",
        text,
        None,
    )
    assert (row["usage_source"], row["reassembly_problems"]) == ("absent", [])
