"""Spans as a real collector receives them: exact attribute names, stable ids, and nothing invented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.support.journals.journals import NOON_US, MadeUp, make_journal
from tests.support.processes.recorder import RunningRecorder, query, tapeline_here
from tests.support.servers.collector import Collector, attributes_of, collecting

from tapeline.pipeline.demo import WORKLOAD, BuiltInProvider, run_workload

pytestmark = pytest.mark.slow

# Names of the conventions 1.41.1, docs/gen-ai/gen-ai-spans.md and openai.md, and Tapeline's own.
NAMES = {
    "gen_ai.operation.name", "gen_ai.provider.name", "error.type", "gen_ai.conversation.id", "gen_ai.output.type",
    "gen_ai.request.choice.count", "gen_ai.request.model", "gen_ai.request.seed", "gen_ai.request.stream",
    "server.address", "server.port", "gen_ai.request.frequency_penalty", "gen_ai.request.max_tokens",
    "gen_ai.request.presence_penalty", "gen_ai.request.stop_sequences", "gen_ai.request.temperature",
    "gen_ai.request.top_k", "gen_ai.request.top_p", "gen_ai.response.id", "gen_ai.response.model",
    "gen_ai.response.finish_reasons", "gen_ai.response.time_to_first_chunk", "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.reasoning.output_tokens", "openai.api.type", "openai.request.service_tier",
    "openai.response.service_tier", "openai.response.system_fingerprint",
    "tapeline.exchange.id", "tapeline.run", "tapeline.outcome", "tapeline.usage.source",
    "tapeline.response.time_to_first_token",
}  # fmt: skip
CONTENT = {"gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions"}

CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
TOOLS = [{"type": "function", "function": {"name": "get_weather"}}]
MESSAGES = [
    {"role": "system", "content": "Be short."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}},
            {"type": "input_audio", "input_audio": {"format": "wav", "data": "UklGRg=="}},
            {"type": "file", "file": {"file_id": "file-1"}},
        ],
    },
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
]
FULL = MadeUp(
    model="gpt-4o",
    messages=MESSAGES,
    params={
        "n": 2, "seed": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "max_completion_tokens": 90, "stop": "END",
        "frequency_penalty": 0.25, "presence_penalty": -1, "service_tier": "flex", "tools": TOOLS,
        "response_format": {"type": "json_object"},
    },
    answered={
        "id": "chatcmpl-9", "model": "gpt-4o-2026", "service_tier": "flex", "system_fingerprint": "fp_1",
        "choices": [
            {"index": 0, "message": {"content": "{}", "reasoning_content": "Hm."}, "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "tool_calls": [CALL]}, "finish_reason": "tool_calls"},
        ],
    },
    usage={
        "prompt_tokens": 30, "completion_tokens": 12, "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 4},
    },
)  # fmt: skip


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


def send(data: Path, collector: Collector, *options: str) -> str:
    result = tapeline_here("export", "--data", data, "--format", "otlp", "--endpoint", collector.url, *options)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    return result.stderr


def sent(data: Path, collector: Collector, *options: str) -> list[tuple[Span, dict[str, Any]]]:
    send(data, collector, *options)
    return [(span, attributes_of(span)) for span in collector.spans]


def test_every_attribute_of_an_exchange_that_has_them_all(data: Path, collector: Collector) -> None:
    make_journal(data, [FULL])
    ((span, attributes),) = sent(data, collector)
    assert (span.name, span.kind, span.status.code) == ("chat gpt-4o", Span.SPAN_KIND_CLIENT, Status.STATUS_CODE_UNSET)
    assert span.start_time_unix_nano == NOON_US * 1000
    assert span.end_time_unix_nano == (NOON_US + 200_000) * 1000
    exchange_id = attributes.pop("tapeline.exchange.id")
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.conversation.id": exchange_id,
        "gen_ai.output.type": "json",
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.seed": 7,
        "gen_ai.request.frequency_penalty": 0.25,
        "gen_ai.request.presence_penalty": -1.0,
        "gen_ai.request.max_tokens": 90,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_k": 40.0,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.response.id": "chatcmpl-9",
        "gen_ai.response.model": "gpt-4o-2026",
        "gen_ai.response.finish_reasons": ["stop", "tool_calls"],
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.reasoning.output_tokens": 4,
        "openai.api.type": "chat_completions",
        "openai.request.service_tier": "flex",
        "openai.response.service_tier": "flex",
        "openai.response.system_fingerprint": "fp_1",
        "server.address": "api.openai.com",
        "server.port": 443,
        "tapeline.outcome": "complete",
        "tapeline.run": "run-1",
        "tapeline.usage.source": "reported",
    }
    (resource_spans,) = collector.requests[0].resource_spans
    assert attributes_of(resource_spans.resource)["service.name"] == "tapeline"
    assert resource_spans.scope_spans[0].schema_url == "https://opentelemetry.io/schemas/1.41.1"


def test_content_is_sent_on_request(data: Path, collector: Collector) -> None:
    make_journal(data, [FULL])
    ((_, attributes),) = sent(data, collector, "--with-content")
    inputs, outputs = (json.loads(attributes[f"gen_ai.{name}.messages"]) for name in ("input", "output"))
    call = {"type": "tool_call", "id": "call_1", "name": "get_weather", "arguments": {"city": "Paris"}}
    assert inputs == [
        {"role": "system", "parts": [{"type": "text", "content": "Be short."}]},
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "What is it?"},
                {"type": "uri", "modality": "image", "uri": "https://pictures.example/1.png"},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBORw0="},
                {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "UklGRg=="},
                {"type": "file", "file": {"file_id": "file-1"}},
            ],
        },
        {"role": "assistant", "parts": [call]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "18 degrees"}]},
    ]
    assert outputs == [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "{}"}],
            "finish_reason": "stop",
        },
        {"role": "assistant", "parts": [call], "finish_reason": "tool_calls"},
    ]
    assert json.loads(attributes["gen_ai.tool.definitions"]) == TOOLS


def test_a_recorded_workload(data: Path, collector: Collector) -> None:
    """For all systems, every recorded figure is sent, no unrecorded one, and no attribute with an unknown name."""
    with BuiltInProvider(pace=0) as provider, RunningRecorder(data, "--mode", f"upstream:{provider.url}") as recorder:
        run_workload(WORKLOAD, proxy=recorder.address, provider_url=provider.url)
    spans = {attributes["tapeline.exchange.id"]: (span, attributes) for span, attributes in sent(data, collector)}
    rows = query(data, "SELECT * FROM exchanges")
    assert spans.keys() == {row["exchange_id"] for row in rows}
    for row in rows:
        span, attributes = spans[row["exchange_id"]]
        assert attributes.keys() <= NAMES
        assert attributes.get("gen_ai.usage.input_tokens") == row["prompt_tokens"]
        assert attributes.get("gen_ai.usage.output_tokens") == row["completion_tokens"]
        assert attributes.get("gen_ai.request.stream") == (True if row["stream"] else None)
        first = attributes.get("gen_ai.response.time_to_first_chunk")
        assert first == (None if row["first_event_us"] is None else row["first_event_us"] / 1_000_000)
        assert span.end_time_unix_nano - span.start_time_unix_nano == row["ended_us"] * 1000
        failed = row["outcome"] != "complete"
        assert (span.status.code == Status.STATUS_CODE_ERROR) == failed == ("error.type" in attributes)
        assert span.status.message == (row["outcome"] if failed else "")
        parent = row["parent_exchange_id"]
        assert span.parent_span_id == (spans[parent][0].span_id if parent else b"")
        assert span.trace_id == spans[row["conversation_id"]][0].trace_id
    assert len({span.trace_id for span, _ in spans.values()}) == len({row["conversation_id"] for row in rows})
    assert any(row["parent_exchange_id"] for row in rows)
    types = {attributes["error.type"] for _, attributes in spans.values() if "error.type" in attributes}
    assert {"invalid_request_error", "truncated"} <= types


def test_sending_again_sends_the_same_spans(data: Path, collector: Collector) -> None:
    make_journal(data, [MadeUp(started_at_us=NOON_US + number) for number in range(450)])
    assert send(data, collector) == "Exported 450 exchanges.\n"
    once = [span.SerializeToString() for span in collector.spans]
    assert [len(request.resource_spans[0].scope_spans[0].spans) for request in collector.requests] == [200, 200, 50]
    collector.requests.clear()
    send(data, collector)
    assert [span.SerializeToString() for span in collector.spans] == once
    assert len({(span.trace_id, span.span_id) for span in collector.spans}) == 450


def test_the_environment_variables_of_the_exporter_count(
    data: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_journal(data, [FULL])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=shop")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    result = tapeline_here("export", "--data", data, "--format", "otlp")
    assert result.returncode == 0, result.stderr
    assert collector.headers[0]["x-team"] == "shop"
    assert attributes_of(collector.requests[0].resource_spans[0].resource)["service.name"] == "shop"


def test_a_recording_without_content_sends_only_figures(data: Path, collector: Collector) -> None:
    make_journal(data, [FULL], content="none")
    ((_, attributes),) = sent(data, collector, "--with-content")
    assert attributes["gen_ai.usage.input_tokens"] == 30
    assert "Paris" not in json.dumps(attributes)
    assert "Be short" not in json.dumps(attributes)


def test_a_refusal_of_the_collector_is_reported(data: Path, collector: Collector) -> None:
    make_journal(data, [FULL])
    collector.status = 400
    result = tapeline_here("export", "--data", data, "--format", "otlp", "--endpoint", collector.url)
    assert (result.returncode, result.stdout) == (3, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {collector.url} did not accept the spans (")
    assert "400" in line


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--format", "otlp", "--endpoint", "localhost:4318"), "--endpoint 'localhost:4318'"),
        (("--format", "otlp", "-o", "x"), "leave -o out"),
        (("--format", "har", "--endpoint", "http://localhost:4318"), "for --format otlp"),
        (("--with-content",), "for --format otlp"),
    ],
)
def test_wrong_use_gets_an_error_of_one_line(options: tuple[str, ...], named: str, data: Path) -> None:
    make_journal(data, [FULL])
    result = tapeline_here("export", "--data", data, *options)
    assert (result.returncode, result.stdout) == (2, "")
    assert named in result.stderr
    assert result.stderr.count("\n") == 1
