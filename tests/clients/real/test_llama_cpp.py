"""llama.cpp's server, as llama-cpp-python has it, through a real recorder; its model is made on the spot."""

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
from tests.support.processes.recorder import RunningRecorder

needs("llama-cpp")
pytestmark = pytest.mark.slow

KEY = "sk-none"
CONTEXT = 8192
QUESTION = {"model": "tiny", "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0}
CHOSEN_TOOL = {"type": "function", "function": {"name": FUNCTION["name"]}}
SCHEMA = {"type": "json_object", "schema": PARAMETERS}
ASKED: dict[str, JsonObject] = {
    "words": {"max_tokens": 40},
    "two choices of which it gives one": {"max_tokens": 8, "n": 2},
    "one token": {"max_tokens": 1},
    "log probabilities": {"max_tokens": 8, "logprobs": True, "top_logprobs": 2},
    "JSON": {"max_tokens": 200, "response_format": SCHEMA},
    "chosen tool": {"max_tokens": 200, "tools": TOOLS, "tool_choice": CHOSEN_TOOL},
    "function": {"max_tokens": 200, "functions": [FUNCTION], "function_call": {"name": FUNCTION["name"]}},
}
STOPPED = "stopped by a string"
CASES = [(name, way) for name in (*ASKED, STOPPED) for way in WAYS]
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
    """What starts the server, on a free port."""
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
    """Every question, asked in every way; in one, some of what was said before is to stop it."""
    data, found = tmp_path_factory.mktemp("recordings"), Calls()
    asked = dict(ASKED)
    with RunningRecorder(data, "--upstream", server.url) as recorder, sdk(recorder, KEY) as client:
        for name, way in CASES:
            if name == STOPPED and name not in asked:
                words = found["words", WHOLE].returned["choices"][0]["message"]["content"]
                asked[name] = {"max_tokens": 40, "stop": [words[20:23]]}
            found[name, way] = ask(client, QUESTION | asked[name], way)
    look_up(found.values(), data)
    return found


@pytest.fixture(params=CASES, ids=", ".join)
def call(request: pytest.FixtureRequest, calls: Calls) -> Call:
    return calls[request.param]


def test_what_the_sdk_returned_is_recorded(call: Call) -> None:
    check_same(call)


@pytest.mark.parametrize("way", [STREAMED, WITH_USAGE])
@pytest.mark.parametrize("name", [*ASKED, STOPPED])
def test_a_stream_comes_to_the_answer_without_streaming(calls: Calls, name: str, way: str) -> None:
    # It tells usage in no stream.
    streamed, whole = (said(calls[name, asked], "id", "usage") for asked in (way, WHOLE))
    assert streamed == whole


def test_the_answers_are_of_all_kinds(calls: Calls) -> None:
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
def test_what_was_asked_is_recorded(calls: Calls, way: str) -> None:
    row = calls["two choices of which it gives one", way].row
    assert (row["n"], len(row["choices"]), row["model"], row["temperature"]) == (2, 1, "tiny", 0)
    assert {"openai-processing-ms", "x-request-id", "server"} <= set(kept(row))


@pytest.fixture(scope="module")
def refusals(server: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Refusals:
    """All that is refused."""
    data, found = tmp_path_factory.mktemp("recordings"), {}
    with RunningRecorder(data, "--upstream", server.url) as recorder, sdk(recorder, KEY) as client:
        for name, way in REFUSALS:
            found[name, way] = refusal(client, QUESTION | REFUSED[name][1], way)
    return {asked: (error, row) for (asked, error), row in zip(found.items(), all_rows(data), strict=True)}


@pytest.mark.parametrize(("name", "way"), REFUSALS)
def test_an_error_is_recorded_as_the_sdk_raised_it(refusals: Refusals, name: str, way: str) -> None:
    error, row = refusals[name, way]
    assert error.status_code == REFUSED[name][0]
    check_refusal(error, row)


def test_a_stream_that_ends_before_it_begins(server: RealServer, data: Path) -> None:
    """That a prompt is too long is found when the head of the stream is already sent: the SDK sees no error at all."""
    with RunningRecorder(data, "--upstream", server.url) as recorder, sdk(recorder, KEY) as client:
        create: Any = client.chat.completions.create
        with closing(create(**QUESTION | REFUSED["too long"][1], stream=True)) as chunks:
            assert list(chunks) == []
    row = only_row(data)
    assert (row["outcome"], row["status_code"], row["choices"]) == ("invalid", 200, None)
    assert (row["response_bytes"], row["usage_source"], row["reassembly_problems"]) == (0, "absent", [])


def test_a_client_that_leaves_in_mid_stream(server: RealServer, data: Path) -> None:
    with RunningRecorder(data, "--upstream", server.url) as recorder, sdk(recorder, KEY) as client:
        with streaming(client, QUESTION | ENDLESS) as texts:
            heard = first_of(texts, 10)
        row = only_row(data)
        # The server gives up as well, and is there for the next.
        assert ask(client, QUESTION | {"max_tokens": 1}, WHOLE).returned["usage"]["completion_tokens"] == 1
    (choice,) = row["choices"]
    assert (row["outcome"], choice["finish_reason"], row["usage_source"]) == ("client_aborted", None, "absent")
    # More may have been on its way to the client.
    assert choice["content"].startswith("".join(heard))
    assert row["reassembly_problems"] == []


def test_a_server_that_is_killed_in_mid_stream(model: Path, tmp_path: Path, data: Path) -> None:
    with (
        RealServer(command(model), tmp_path / "log") as running,
        RunningRecorder(data, "--upstream", running.url) as recorder,
        sdk(recorder, KEY) as client,
        streaming(client, QUESTION | ENDLESS) as texts,
    ):
        heard = first_of(texts, 10)
        running.kill()
        with pytest.raises(openai.APIConnectionError):
            heard.extend(texts)
    row = only_row(data)
    (choice,) = row["choices"]
    assert (row["outcome"], choice["finish_reason"], row["usage_source"]) == ("upstream_aborted", None, "absent")
    assert choice["content"] == "".join(heard)
    assert row["reassembly_problems"] == []
