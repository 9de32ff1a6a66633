"""llama.cpp's server (llama-cpp-python) through a real recorder, with a model that the test makes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import openai
import pytest

from tapeline.pipeline.demo import JsonObject
from tests.clients.real.calls import (
    FUNCTION,
    PARAMETERS,
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
from tests.support.processes.recorder import RunningRecorder

needs("llama-cpp")
pytestmark = pytest.mark.slow

KEY = "sk-none"
CONTEXT = 8192
REQUEST = {"model": "tiny", "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0}
CHOSEN_TOOL = {"type": "function", "function": {"name": FUNCTION["name"]}}
SCHEMA = {"type": "json_object", "schema": PARAMETERS}
VARIANTS: dict[str, JsonObject] = {
    "words": {"max_tokens": 40},
    "two choices, of which the server returns one": {"max_tokens": 8, "n": 2},
    "one token": {"max_tokens": 1},
    "log probabilities": {"max_tokens": 8, "logprobs": True, "top_logprobs": 2},
    "JSON": {"max_tokens": 200, "response_format": SCHEMA},
    "chosen tool": {"max_tokens": 200, "tools": TOOLS, "tool_choice": CHOSEN_TOOL},
    "function": {"max_tokens": 200, "functions": [FUNCTION], "function_call": {"name": FUNCTION["name"]}},
}
STOPPED = "stopped by a string"
CASES = [(name, way) for name in (*VARIANTS, STOPPED) for way in WAYS]
TOO_LONG = [{"role": "user", "content": "~" * (2 * CONTEXT)}]
ENDLESS = {"max_tokens": CONTEXT - 100}
REFUSED: dict[str, tuple[int, JsonObject]] = {
    "bad parameter": (500, {"temperature": "hot"}),
    "unknown role": (500, {"messages": [{"role": "nobody", "content": "Hello!"}]}),
    "too long": (400, {"messages": TOO_LONG}),
}
REFUSALS = [(name, way) for name in REFUSED for way in WAYS if name != "too long" or way == WHOLE]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    maker = Path(__file__).with_name("make_model.py")
    subprocess.run([program("llama-cpp", "python"), maker, path], check=True, timeout=60)
    return path


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with RealServer(command(model), tmp_path_factory.mktemp("llama") / "log") as running:
        yield running


def command(model: Path) -> list[str]:
    """Return the command that starts the server on a free port."""
    options = {
        "--model": str(model),
        "--model_alias": "tiny",
        "--chat_format": "chatml-function-calling",
        "--n_ctx": str(CONTEXT),
        "--n_threads": "1",
        "--host": "127.0.0.1",
        "--port": "0",
    }
    return [program("llama-cpp", "python"), "-m", "llama_cpp.server", *chain.from_iterable(options.items())]


@pytest.fixture(scope="module")
def calls(server: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """Send every request in every way; one has a stop string from an earlier response."""
    data, made = tmp_path_factory.mktemp("recordings"), Calls()
    variants = dict(VARIANTS)
    with RunningRecorder(data, "--upstream", server.url) as recorder, sdk(recorder, KEY) as client:
        for name, way in CASES:
            if name == STOPPED and name not in variants:
                words = made["words", WHOLE].returned["choices"][0]["message"]["content"]
                variants[name] = {"max_tokens": 40, "stop": [words[20:23]]}
            made[name, way] = send(client, REQUEST | variants[name], way)
    look_up(made.values(), data)
    return made


@pytest.fixture(params=CASES, ids=", ".join)
def call(request: pytest.FixtureRequest, calls: Calls) -> Call:
    return calls[request.param]


def test_the_response_of_the_sdk_is_recorded(call: Call) -> None:
    check_same(call)


@pytest.mark.parametrize("way", [STREAMED, WITH_USAGE])
@pytest.mark.parametrize("name", [*VARIANTS, STOPPED])
def test_a_stream_equals_the_response_without_streaming(calls: Calls, name: str, way: str) -> None:
    # The server reports usage in no stream.
    streamed, whole = (comparable(calls[name, method], "id", "usage") for method in (way, WHOLE))
    assert streamed == whole


def test_the_responses_are_of_all_kinds(calls: Calls) -> None:
    choices = {name: call.row["choices"][0] for (name, way), call in calls.items() if way == STREAMED}
    assert len(choices["words"]["content"]) > 30
    assert len(choices["one token"]["content"]) >= 1
    assert set(json.loads(choices["JSON"]["content"])) == {"city", "unit"}
    reasons = {name: choice["finish_reason"] for name, choice in choices.items()}
    assert (reasons["words"], reasons[STOPPED], reasons["chosen tool"]) == ("length", "stop", "tool_calls")
    for name in ("chosen tool", "function"):
        (tool_call,) = choices[name]["tool_calls"]
        assert tool_call["name"] == FUNCTION["name"]
        assert set(json.loads(tool_call["arguments"])) == {"city", "unit"}


@pytest.mark.parametrize("way", WAYS)
def test_the_request_is_recorded(calls: Calls, way: str) -> None:
    row = calls["two choices, of which the server returns one", way].row
    assert (row["n"], len(row["choices"]), row["model"], row["temperature"]) == (2, 1, "tiny", 0)
    assert {"openai-processing-ms", "x-request-id", "server"} <= set(response_headers(row))


@pytest.fixture(scope="module")
def refusals(server: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Refusals:
    """Send every refused request."""
    data, raised = tmp_path_factory.mktemp("recordings"), {}
    with RunningRecorder(data, "--upstream", server.url) as recorder, sdk(recorder, KEY) as client:
        for name, way in REFUSALS:
            raised[name, way] = refusal(client, REQUEST | REFUSED[name][1], way)
    return {case: (error, row) for (case, error), row in zip(raised.items(), all_rows(data), strict=True)}


@pytest.mark.parametrize(("name", "way"), REFUSALS)
def test_an_error_is_recorded_as_the_sdk_raised_it(refusals: Refusals, name: str, way: str) -> None:
    error, row = refusals[name, way]
    assert error.status_code == REFUSED[name][0]
    check_refusal(error, row)


def test_a_stream_that_ends_before_it_begins(server: RealServer, data: Path) -> None:
    """The server notices a prompt that is too long after it sent the head of the stream, so the SDK gets no error."""
    with RunningRecorder(data, "--upstream", server.url) as recorder, sdk(recorder, KEY) as client:
        create: Any = client.chat.completions.create
        with closing(create(**REQUEST | REFUSED["too long"][1], stream=True)) as chunks:
            assert list(chunks) == []
    row = only_row(data)
    assert (row["outcome"], row["status_code"], row["choices"]) == ("invalid", 200, None)
    assert (row["response_bytes"], row["usage_source"], row["reassembly_problems"]) == (0, "absent", [])


def test_a_client_that_leaves_in_mid_stream(server: RealServer, data: Path) -> None:
    with RunningRecorder(data, "--upstream", server.url) as recorder, sdk(recorder, KEY) as client:
        with streaming(client, REQUEST | ENDLESS) as texts:
            read = first_of(texts, 10)
        row = only_row(data)
        # The server stops generating as well, and serves the next request.
        assert send(client, REQUEST | {"max_tokens": 1}, WHOLE).returned["usage"]["completion_tokens"] == 1
    (choice,) = row["choices"]
    assert (row["outcome"], choice["finish_reason"], row["usage_source"]) == ("client_aborted", None, "absent")
    # The recorder may have passed on more than the client read.
    assert choice["content"].startswith("".join(read))
    assert row["reassembly_problems"] == []


def test_a_server_that_is_killed_in_mid_stream(model: Path, tmp_path: Path, data: Path) -> None:
    with (
        RealServer(command(model), tmp_path / "log") as running,
        RunningRecorder(data, "--upstream", running.url) as recorder,
        sdk(recorder, KEY) as client,
        streaming(client, REQUEST | ENDLESS) as texts,
    ):
        read = first_of(texts, 10)
        running.kill()
        with pytest.raises(openai.APIConnectionError):
            read.extend(texts)
    row = only_row(data)
    (choice,) = row["choices"]
    assert (row["outcome"], choice["finish_reason"], row["usage_source"]) == ("upstream_aborted", None, "absent")
    assert choice["content"] == "".join(read)
    assert row["reassembly_problems"] == []
