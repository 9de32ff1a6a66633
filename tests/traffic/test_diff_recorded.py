"""Two recordings by a real recorder, of a provider that then says something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tapeline.pipeline.demo import ANSWERS, BuiltInProvider, Call, CannedAnswer, run_workload
from tests.support.clients.wire import PATH
from tests.support.processes.recorder import RunningRecorder, tapeline
from tests.support.servers.serving import serving

pytestmark = pytest.mark.slow

MODELS = ("gpt-4o-mini", "claude-sonnet-4.5", "gpt-4o", "deepseek-reasoner", "qwen3", "gpt-4.1-mini", "demo-503")
CALLS = [
    Call(
        "127.0.0.1",
        PATH,
        {
            "model": model,
            "messages": [{"role": "user", "content": "Hello!"}],
            "stream": streamed,
            "n": 3 if model == "qwen3" else 1,
            # `stream` is left out of the fingerprint: by its seed each call has a partner of its own.
            "seed": int(streamed),
        },
    )
    for model in MODELS
    for streamed in (False, True)
]


def changed_answers() -> dict[str, tuple[CannedAnswer, ...]]:
    """The provider's answers with another word, another argument and another end."""
    answers = dict(ANSWERS)
    (hello,), (looked, *more), (short,) = (answers[model] for model in ("gpt-4o-mini", "gpt-4o", "claude-sonnet-4.5"))
    answers["gpt-4o-mini"] = (
        replace(hello, choices=(replace(hello.choices[0], content="Hello! How may I help you?"),)),
    )
    calls = (replace(looked.choices[0].tool_calls[0], arguments='{"city": "Rome"}'), *looked.choices[0].tool_calls[1:])
    answers["gpt-4o"] = (replace(looked, choices=(replace(looked.choices[0], tool_calls=calls),)), *more)
    answers["claude-sonnet-4.5"] = (replace(short, choices=(replace(short.choices[0], finish_reason="length"),)),)
    return answers


def record(data: Path, run: str, upstream: str) -> None:
    with RunningRecorder(data, "--run", run, "--upstream", upstream) as recorder:
        results = run_workload(CALLS, proxy=None, provider_url=recorder.address, concurrency=2)
        assert {result.status for result in results} == {200, 503}
        recorder.stop()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("comparison") / "data"
    with BuiltInProvider(pace=0) as provider:
        record(data, "before", provider.url)
        record(data, "again", provider.url)
        with serving(data, "before") as served:
            record(data, "served", served.url)
        provider.answers = changed_answers()
        record(data, "after", provider.url)
    return data


def compared(data: Path, candidate: str, *rules: str) -> tuple[int, dict[str, Any]]:
    result = tapeline("diff", "before", candidate, "--data", data, "--format", "json", *rules)
    assert "Traceback" not in result.stderr
    return result.returncode, json.loads(result.stdout)


def test_the_same_answers_recorded_twice_do_not_differ(recordings: Path) -> None:
    code, document = compared(recordings, "again", "--fail-on", "any,unpaired")
    assert (code, document["pairs"], document["changed"], document["unpaired"]) == (0, len(CALLS), 0, [])
    timed = {one["figure"]: one["pairs"] for one in document["figures"]}
    assert timed["ttft"] == len(MODELS) - 1
    assert timed["total"] == len(CALLS) - 2


def test_answers_from_the_recording_do_not_differ_from_it(recordings: Path) -> None:
    code, document = compared(recordings, "served", "--fail-on", "outcome,finish_reason,tool_calls,text")
    assert (code, document["pairs"], document["changed"], document["unpaired"]) == (0, len(CALLS), 0, [])


def test_what_the_provider_says_otherwise_is_found_streamed_and_not(recordings: Path) -> None:
    code, document = compared(recordings, "after", "--fail-on", "tool_calls,text>0.5,outcome")
    assert code == 1
    assert [rule["state"] for rule in document["rules"]] == ["fired", "held", "held"]
    found = sorted(
        (pair["base_model"], one["kind"])
        for pair in document["differing"]
        for one in pair["differences"]
        if one["how"] == "changed"
    )
    assert found == [
        ("claude-sonnet-4.5", "finish_reason"),
        ("claude-sonnet-4.5", "finish_reason"),
        ("gpt-4o", "tool_arguments"),
        ("gpt-4o", "tool_arguments"),
        ("gpt-4o-mini", "text"),
        ("gpt-4o-mini", "text"),
    ]
