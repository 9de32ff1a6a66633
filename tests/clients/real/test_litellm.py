"""LiteLLM's proxy through a real recorder: its mocks, and what it makes of the built-in provider's answers."""

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
    ask,
    check_refusal,
    check_same,
    first_of,
    kept,
    look_up,
    only_row,
    refusal,
    said,
    sdk,
    streaming,
)
from tests.clients.real.servers import RealServer, needs, program
from tests.support.clients.reading import recorded_summary, summary
from tests.support.processes.recorder import RunningRecorder

needs("litellm")
pytestmark = pytest.mark.slow

QUESTION = [{"role": "user", "content": "Hello!"}]
ASKED: dict[str, JsonObject] = {
    "words": {"model": "words"},
    "two choices": {"model": "words", "n": 2},
    "mocked tools": {"model": "tools", "tools": TOOLS},
    "a provider's tools": {"model": "through/gpt-4o", "tools": TOOLS},
    "a provider's reasoning": {"model": "through/deepseek-reasoner"},
    "a provider's choices": {"model": "through/qwen3", "n": 2},
    "a provider's log probabilities": {"model": "through/gpt-4o-mini", "logprobs": True, "top_logprobs": 2},
}
WRONG_KEY = "wrong key"
CASES = [(name, way) for name in ASKED for way in WAYS]
REFUSED: dict[str, tuple[int, JsonObject]] = {
    "unknown model": (400, {"model": "nobody-has-it"}),
    "no messages": (400, {"model": "words", "messages": "Hello!"}),
    "mocked limit": (429, {"model": "limited"}),
    "mocked fault": (500, {"model": "broken"}),
    "a status of nobody's": (529, {"model": "overloaded"}),
    "a provider's limit": (429, {"model": "through/demo-429"}),
    "a provider's lack of money": (402, {"model": "through/demo-402"}),
}
# All but standing still; what is to stall for seconds says so in milliseconds by this pace.
PACE = 0.001
SAID, LEFT_UNSAID = "What the client had read ", "and what nobody heard."
STALLS = CannedAnswer("a long silence", (Choice(SAID + LEFT_UNSAID),), pace=Pace(stall_at=6, stall=30_000 / PACE))


@dataclass(frozen=True)
class Proxy:
    """LiteLLM before the built-in provider."""

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
            LITELLM_LOCAL_MODEL_COST_MAP="True",  # or it asks the network for prices
            PROVIDER_URL=f"{provider.url}/v1",
        ) as server,
    ):
        yield Proxy(server.url, key, provider)


@pytest.fixture(scope="module")
def calls(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """Every question, asked in every way."""
    data, found = tmp_path_factory.mktemp("recordings"), {}
    with RunningRecorder(data, "--upstream", proxy.url) as recorder, sdk(recorder, proxy.key) as client:
        for name, way in CASES:
            found[name, way] = ask(client, {"messages": QUESTION, **ASKED[name]}, way)
    look_up(found.values(), data)
    return found


@pytest.fixture(params=CASES, ids=", ".join)
def call(request: pytest.FixtureRequest, calls: Calls) -> Call:
    return calls[request.param]


def test_what_the_sdk_returned_is_recorded(call: Call) -> None:
    check_same(call)


def test_the_key_is_not_recorded(proxy: Proxy, call: Call) -> None:
    assert call.row["api_key_id"].startswith("key-")
    assert proxy.key not in json.dumps([call.row, call.shown], default=str)


@pytest.mark.parametrize("way", [STREAMED, WITH_USAGE])
def test_a_stream_comes_to_the_answer_without_streaming(calls: Calls, way: str) -> None:
    # A mock counts tokens only where it streams, and makes them up otherwise.
    streamed, whole = (said(calls["words", asked], "id", "usage") for asked in (way, WHOLE))
    assert streamed == whole


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["a provider's tools", "a provider's reasoning"])
def test_the_proxy_passes_on_what_the_provider_said(calls: Calls, proxy: Proxy, name: str, way: str) -> None:
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
def test_the_cost_is_the_one_that_the_proxy_says(calls: Calls, name: str) -> None:
    """In a header where the answer is whole; in a stream within the usage, and so only where that was asked for."""
    whole, streamed, with_usage = (calls[name, way] for way in WAYS)
    header = "x-litellm-response-cost"
    cost = Decimal(whole.headers[header]).quantize(Decimal("1E-12"))
    assert Decimal(str(whole.row["reported_cost"])) == cost > 0
    assert whole.row["reported_cost_source"] == header
    assert with_usage.row["reported_cost"] == with_usage.returned["usage"]["cost"] > 0
    assert with_usage.row["reported_cost_source"] == "usage.cost"
    assert (streamed.row["reported_cost"], streamed.row["reported_cost_source"]) == (None, None)


def test_a_price_that_the_proxy_does_not_know_is_no_cost(calls: Calls) -> None:
    row = calls["a provider's reasoning", WHOLE].row
    assert row["usage_source"] == "reported"
    assert (row["reported_cost"], row["reported_cost_source"]) == (None, None)


@pytest.mark.parametrize("way", WAYS)
def test_what_the_proxy_says_of_the_call_is_kept(calls: Calls, way: str) -> None:
    call = calls["a provider's tools", way]
    headers = kept(call.row)
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


def test_what_the_proxy_says_of_its_owner_is_not_kept(calls: Calls) -> None:
    call = calls["a provider's tools", WHOLE]
    for name in ("x-litellm-model-api-base", "x-litellm-key-spend"):
        assert name in call.headers
        assert name not in kept(call.row)


@pytest.fixture(scope="module")
def refusals(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Refusals:
    """All that is refused, asked for in every way, and last with a key that nobody has."""
    data, wrong = tmp_path_factory.mktemp("recordings"), f"sk-{secrets.token_hex(24)}"
    found = {}
    with RunningRecorder(data, "--upstream", proxy.url) as recorder:
        with sdk(recorder, proxy.key) as client:
            for name, (_, request) in REFUSED.items():
                for way in WAYS:
                    found[name, way] = refusal(client, {"messages": QUESTION, **request}, way)
        with sdk(recorder, wrong) as client:
            found[WRONG_KEY, WHOLE] = refusal(client, {"messages": QUESTION, "model": "words"}, WHOLE)
    rows = all_rows(data)
    assert wrong not in json.dumps(rows, default=str)
    return {asked: (error, row) for (asked, error), row in zip(found.items(), rows, strict=True)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REFUSED)
def test_an_error_is_recorded_as_the_sdk_raised_it(refusals: Refusals, name: str, way: str) -> None:
    error, row = refusals[name, way]
    assert error.status_code == REFUSED[name][0]
    check_refusal(error, row)


def test_when_to_try_again_is_kept(refusals: Refusals) -> None:
    """The proxy passes a provider's word on under a name of its own."""
    error, row = refusals["a provider's limit", WHOLE]
    assert "retry-after" not in error.response.headers
    assert kept(row)["llm_provider-retry-after"] == error.response.headers["llm_provider-retry-after"] == "2"


def test_a_wrong_key_has_a_fingerprint_of_its_own(refusals: Refusals) -> None:
    error, row = refusals[WRONG_KEY, WHOLE]
    check_refusal(error, row)
    assert row["api_key_id"] != refusals["mocked limit", WHOLE][1]["api_key_id"]


def test_the_proxys_own_header_for_keys(proxy: Proxy, data: Path) -> None:
    """It comes before `authorization`, which may then hold the provider's key."""
    with RunningRecorder(data, "--upstream", proxy.url) as recorder, sdk(recorder, "of-the-provider") as client:
        request = {"messages": QUESTION, "model": "words", "extra_headers": {"x-litellm-api-key": proxy.key}}
        call = ask(client, request, WHOLE)
    look_up([call], data)
    check_same(call)
    assert call.row["api_key_id"] == fingerprint(proxy.key, load_salt(data / "salt"))
    assert proxy.key not in json.dumps(call.row, default=str)


def test_as_azures_sdk_asks(proxy: Proxy, data: Path) -> None:
    """With the key in a header of its own, and the version in the query."""
    with (
        RunningRecorder(data, "--upstream", proxy.url) as recorder,
        openai.AzureOpenAI(api_key=proxy.key, azure_endpoint=recorder.address, api_version="2024-10-21") as client,
    ):
        call = ask(client, {"messages": QUESTION, "model": "words"}, STREAMED)
    look_up([call], data)
    check_same(call)
    assert call.row["path"] == "/openai/deployments/words/chat/completions?api-version=2024-10-21"
    assert call.row["api_key_id"] == fingerprint(proxy.key, load_salt(data / "salt"))


def test_an_answer_from_the_proxys_cache_is_a_call_of_its_own(proxy: Proxy, data: Path) -> None:
    """It has the id of the answer that it repeats; a header tells it apart."""
    request = {"messages": QUESTION, "model": "through/qwen3", "extra_body": {"cache": {"use-cache": True}}}
    ways = (WHOLE, WHOLE, WITH_USAGE, WITH_USAGE)
    with RunningRecorder(data, "--upstream", proxy.url) as recorder, sdk(recorder, proxy.key) as client:
        found = [ask(client, request, way) for way in ways]
    look_up(found, data)
    for call in found:
        check_same(call)
    ids = [call.row["response_id"] for call in found]
    assert (ids[0], ids[2]) == (ids[1], ids[3])
    assert ids[0] != ids[2]
    assert ["x-litellm-cache-key" in kept(call.row) for call in found] == [False, True, False, True]


def test_an_error_in_mid_stream(proxy: Proxy, data: Path) -> None:
    with (
        RunningRecorder(data, "--upstream", proxy.url) as recorder,
        sdk(recorder, proxy.key) as client,
        pytest.raises(openai.APIError) as raised,
    ):
        ask(client, {"messages": QUESTION, "model": "through/demo-error-event"}, STREAMED)
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
        with streaming(client, {"messages": QUESTION, "model": "through/stalls"}) as texts:
            text = "".join(first_of(texts, len(SAID.rstrip())))
        row = only_row(data)
    assert SAID.startswith(text)
    assert (row["outcome"], row["choices"][0]["content"], row["choices"][0]["finish_reason"]) == (
        "client_aborted",
        text,
        None,
    )
    assert (row["usage_source"], row["reassembly_problems"]) == ("absent", [])
