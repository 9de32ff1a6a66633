"""Calls with the openai SDK: what the SDK returned, what was recorded, and the checks that both are the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from tapeline.pipeline.demo import JsonObject
from tests.support.clients.reading import joined, recorded_summary, summary
from tests.support.processes.recorder import RunningRecorder, documents, query, query_until

WHOLE, STREAMED, WITH_USAGE = "whole", "streamed", "streamed with usage"
WAYS: Mapping[str, JsonObject] = {
    WHOLE: {},
    STREAMED: {"stream": True},
    WITH_USAGE: {"stream": True, "stream_options": {"include_usage": True}},
}
USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
}
FUNCTION: JsonObject = {"name": "get_weather", "parameters": PARAMETERS}
TOOLS: list[JsonObject] = [{"type": "function", "function": FUNCTION}]


@dataclass
class Call:
    """One call: what the SDK returned, and what was recorded."""

    returned: JsonObject
    #: The response's JSON; None for a stream.
    body: JsonObject | None
    headers: Mapping[str, str]
    read_bytes: int
    row: JsonObject = field(default_factory=dict)
    shown: JsonObject = field(default_factory=dict)


Calls = dict[tuple[str, str], Call]
Refusals = dict[tuple[str, str], tuple[openai.APIStatusError, JsonObject]]


def sdk(recorder: RunningRecorder, key: str) -> openai.OpenAI:
    """Return a client of the server behind the recorder."""
    return openai.OpenAI(api_key=key, base_url=f"{recorder.address}/v1", max_retries=0, timeout=60)


def send(client: openai.OpenAI, request: JsonObject, way: str) -> Call:
    """Send a request, and read the response to its end."""
    create: Any = client.chat.completions.with_raw_response.create
    raw = create(**request, **WAYS[way])
    response = raw.http_response
    parsed = raw.parse()
    if way == WHOLE:
        returned, body = parsed.model_dump(exclude_unset=True), json.loads(raw.text)
    else:
        with closing(parsed):
            returned, body = joined(chunk.model_dump(exclude_unset=True) for chunk in parsed), None
    return Call(returned, body, response.headers, response.num_bytes_downloaded)


def refusal(client: openai.OpenAI, request: JsonObject, way: str) -> openai.APIStatusError:
    """Send a request that the server refuses, and return the error."""
    with pytest.raises(openai.APIStatusError) as raised:
        send(client, request, way)
    return raised.value


@contextmanager
def streaming(client: openai.OpenAI, request: JsonObject) -> Iterator[Iterator[str]]:
    """Yield a stream's texts as they come; the client hangs up at the end of the block."""
    create: Any = client.chat.completions.create
    with closing(create(**request, **WAYS[STREAMED])) as chunks:
        yield (chunk.choices[0].delta.content or "" for chunk in chunks)


def first_of(texts: Iterator[str], characters: int) -> list[str]:
    """Return the first texts, until they have this number of characters."""
    first: list[str] = []
    while sum(map(len, first)) < characters:
        first.append(next(texts))
    return first


def look_up(calls: Iterable[Call], data: Path) -> None:
    """Add the recorded exchange to each call."""
    for call, row, shown in zip(calls, all_rows(data), documents(data), strict=True):
        call.row, call.shown = row, shown


def all_rows(data: Path) -> list[JsonObject]:
    """Return all recorded exchanges, in the order of their start."""
    return query(data, "SELECT * FROM exchanges ORDER BY started_at, exchange_id")


def only_row(data: Path) -> JsonObject:
    """Wait until the only exchange has ended, and return it."""
    (row,) = query_until(data, "SELECT * FROM exchanges", 1)
    return row


def check_same(call: Call) -> None:
    """Check that the recorded response is the one that the SDK returned."""
    row = call.row
    assert row["outcome"] == "complete"
    assert row["reassembly_problems"] == []
    assert recorded_summary(row) == summary(call.returned)
    assert (row["response_id"], row["streamed"]) == (call.returned["id"], call.body is None)
    usage = call.returned.get("usage")
    assert {name: row[name] for name in USAGE} == {name: usage and usage[name] for name in USAGE}
    assert row["usage_source"] == ("reported" if usage else "absent")
    assert row["response_bytes"] == call.read_bytes
    if call.body is not None:
        assert call.shown["response"] == call.body


def check_refusal(error: openai.APIStatusError, row: JsonObject) -> None:
    """Check that the recorded error is the one that the SDK raised."""
    assert isinstance(error.body, dict)
    assert (row["outcome"], row["status_code"]) == ("http_error", error.status_code)
    assert {name: row[f"error_{name}"] for name in error.body} == error.body
    assert row["response_bytes"] == error.response.num_bytes_downloaded
    assert (row["usage_source"], row["choices"]) == ("absent", None)


def comparable(call: Call, *without: str) -> JsonObject:
    """Return the recorded response without its id (also as a part of other ids), its time and the named fields."""
    response = call.shown["response"]
    text = json.dumps(response).replace(response["id"].removeprefix("chat"), "ID")
    return {name: value for name, value in json.loads(text).items() if name not in ("created", *without)}


def response_headers(row: JsonObject) -> dict[str, str]:
    """Return the recorded headers of the response."""
    return {header["name"]: header["value"] for header in row["response_headers"]}
