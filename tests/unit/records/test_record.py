"""From an exchange's bytes to its row: every column is filled, and every value fits into a Parquet file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.captured import JSON_HEADERS, STARTED_AT_US, captured, row_of
from tests.support.journals.strategies import any_body, examples
from tests.support.journals.streams import CODINGS

from tapeline.pipeline.apis.body_reader import MAX_PROBLEMS
from tapeline.pipeline.apis.chat_completions.columns import rebuild_completion
from tapeline.pipeline.dataset.files import write_batch
from tapeline.pipeline.dataset.parquet import polars_schema
from tapeline.pipeline.dataset.schema import EXCHANGES, SCHEMA_VERSION
from tapeline.pipeline.records.captured import CapturedExchange
from tapeline.pipeline.records.record import make_record
from tapeline.pipeline.wire.json_text import loads, storable

COMPLETION: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "cost": "0.00010"},
}


def row_with(body: Any, **more: Any) -> Any:
    """The row of an exchange with this JSON as its response."""
    return row_of(captured(json.dumps(body).encode(), headers=JSON_HEADERS, **more))


def test_every_column_is_there() -> None:
    names = {column.name for column in EXCHANGES.columns}
    for exchange in (captured(), captured(status=None, ending=None), captured(b"data: [DONE]"), captured(b'{"a":1}')):
        assert set(row_of(exchange)) == names


def test_a_completion() -> None:
    row = row_with(COMPLETION, answer={"connect_us": 3, "tls_us": 4})
    wanted = {
        "exchange_id": "e1",
        "recorder_id": "r1",
        "run": "test",
        "started_at": datetime(2023, 11, 14, 22, 13, 20, 123456, UTC),
        "provider": "openai",
        "user_agent": "test/1",
        "model": "m",
        "status_code": 200,
        "streamed": False,
        "response_id": "c1",
        "response_model": "gpt-4o-2024-08-06",
        "response_created": 1,
        "response_extra": '{"object":"chat.completion"}',
        "response_text": None,
        "request_headers": [{"name": "user-agent", "value": "test/1"}],
        "response_headers": [{"name": "content-type", "value": "application/json"}],
        "prompt_tokens": 9,
        "cached_tokens": None,
        "usage_source": "reported",
        "reported_cost": Decimal("0.0001"),
        "reported_cost_source": "usage.cost",
        "request_sent_us": 5,
        "response_headers_us": 50,
        "connect_us": 3,
        "tls_us": 4,
        "first_byte_us": 100,
        "first_event_us": None,
        "event_offsets_us": None,
        "ended_us": 900,
        "outcome": "complete",
        "request_bytes": 57,
        "response_bytes": len(json.dumps(COMPLETION)),
        "reassembly_problems": [],
        "schema_version": SCHEMA_VERSION,
    }
    assert {name: row[name] for name in wanted} == wanted
    assert rebuild_completion(row) == loads(json.dumps(COMPLETION))


def chunk(content: str, usage: Any = None) -> bytes:
    choices = [{"index": 0, "delta": {"content": content}}]
    return b"data: " + json.dumps({"choices": choices, "usage": usage}).encode() + b"\n\n"


def test_a_stream() -> None:
    row = row_of(captured(chunk("a"), chunk("bc") + chunk(""), b"data: [DONE]\n\n"))
    assert row["streamed"] is True
    assert row["event_offsets_us"] == [100, 110, 110, 120]
    assert row["event_sizes"] == [1, 2, 0, 0]
    assert (row["first_token_us"], row["last_token_us"]) == (100, 110)
    assert row["choices"][0]["content"] == "abc"


@pytest.mark.parametrize(
    ("usages", "tokens", "source"),
    [
        ([None, None], None, "absent"),
        ([None, {"prompt_tokens": 2}], 2, "reported"),
        ([{"prompt_tokens": 2}, {"prompt_tokens": 2}], 2, "reported"),
        ([{"prompt_tokens": 1}, {"prompt_tokens": 2}], 2, "reported_cumulative"),
        ([{"prompt_tokens": 2}, None], 2, "reported"),
        ([{"prompt_tokens": None}, None], None, "reported"),
    ],
)
def test_usage_and_its_source(usages: list[Any], tokens: int | None, source: str) -> None:
    row = row_of(captured(*[chunk("a", usage) for usage in usages]))
    assert (row["prompt_tokens"], row["usage_source"]) == (tokens, source)


@pytest.mark.parametrize(
    ("choice", "column"),
    [
        ({"logprobs": {"content": []}}, '{"content":[]}'),
        ({"log_probs": {"content": []}}, '{"content":[]}'),
        ({"logprobs": None, "log_probs": [1]}, "[1]"),
        ({"logprobs": [1], "log_probs": [2]}, "[1]"),
        ({"log_probs": None}, None),
        ({"log_probs": False}, "false"),
    ],
)
def test_log_probabilities_have_one_column_under_either_name(choice: dict[str, Any], column: str | None) -> None:
    body = {"choices": [choice]}
    row = row_with(body)
    assert row["choices"][0]["logprobs"] == column
    assert rebuild_completion(row) == body


def test_without_a_response_its_columns_are_null() -> None:
    row = row_of(captured(status=None, ending=None))
    known = {name for name, value in row.items() if value not in (None, [])}
    assert {"status_code", "streamed", "first_byte_us", "response_headers_us", "choices"}.isdisjoint(known)
    assert row["usage_source"] == "absent"
    assert row["response_bytes"] == 0
    # The last bytes that were seen: the request's only chunk.
    assert row["ended_us"] == 1


def test_repeated_headers() -> None:
    headers = [["content-type", "text/event-stream"], ["content-encoding", "identity"], ["content-encoding", "gzip"]]
    row = row_of(captured(b"broken", headers=headers))
    assert [header["name"] for header in row["response_headers"]].count("content-encoding") == 2
    assert row["reassembly_problems"][0].startswith("content coding is broken")
    assert row["response_text"] == "broken"


@pytest.mark.parametrize(
    ("coding", "problem"),
    [("gzip", "content coding is broken: "), ("compress", "unknown content coding 'compress'")],
)
def test_a_request_that_cannot_be_decoded_is_reported(coding: str, problem: str) -> None:
    headers = [["content-encoding", coding]]
    row = row_of(captured(chunk("a"), request=b"broken", request_headers=headers))
    assert len(row["reassembly_problems"]) == 1
    assert row["reassembly_problems"][0].startswith(f"request: {problem}")
    assert row["request_text"] == "broken"
    assert row["choices"][0]["content"] == "a"


def test_the_number_of_listed_problems_is_limited() -> None:
    row = row_of(captured(b"data: x\n\n" * (MAX_PROBLEMS + 7)))
    assert len(row["reassembly_problems"]) == MAX_PROBLEMS + 1
    assert row["reassembly_problems"][-1] == "7 more problems"


def test_times_before_and_after_the_turn_of_a_second() -> None:
    for started_at_us in (0, 999_999, 1_000_000, STARTED_AT_US, 4_102_444_799_999_999):
        started_at = row_of(captured(started_at_us=started_at_us))["started_at"]
        assert (started_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == started_at_us


def nested(levels: int) -> bytes:
    return b'{"a":[' * (levels // 2) + b"1" + b"]}" * (levels // 2)


@pytest.mark.parametrize("levels", [100, 120, 126, 128, 130, 1000, 20_000])
def test_no_value_is_too_deep(levels: int) -> None:
    deep = nested(levels)
    bodies = [
        deep,
        b'{"choices":[{"message":%s,"logprobs":%s}]}' % (deep, deep),
        b'data: {"choices":[{"delta":%s,"x":%s}],"y":%s,"usage":%s}\n\n' % (deep, deep, deep, deep),
        b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":%s}}]}}]}\n\n' % deep,
        b'{"error":%s}' % deep,
    ]
    for body in bodies:
        row = row_of(captured(body, request=b'{"messages":[%s],"x":%s}' % (deep, deep)))
        assert {row["choices"] is None, row["response_text"] is None, row["error_raw"] is None} == {True, False}


# Half a surrogate pair has no UTF-8 form, and NUL ends a string in C; JSON allows both.
ODD = "a\0b\ud800c"
ODD_COMPLETION: dict[str, Any] = {
    "id": ODD,
    "model": ODD,
    "created": 2**63,
    "system_fingerprint": ODD,
    ODD: ODD,
    "choices": [
        {
            "index": 2**63,
            "message": {
                "role": ODD,
                "content": ODD,
                "refusal": ODD,
                "reasoning": ODD,
                "tool_calls": [{"id": ODD, "type": ODD, "function": {"name": ODD, "arguments": ODD}}],
                ODD: ODD,
            },
            "logprobs": {"content": [{"token": ODD}]},
            "finish_reason": ODD,
            ODD: ODD,
        },
        {"index": 2**63 + 1, "message": {"content": "a\0b", "function_call": {"name": ODD, "arguments": {ODD: ODD}}}},
    ],
    "usage": {ODD: ODD, "prompt_tokens": 2**63, "cost": 0.1},
}
ODD_REQUEST: dict[str, Any] = {
    "model": ODD,
    "user": ODD,
    "tool_choice": {ODD: ODD},
    "temperature": 10**400,
    "seed": 2**63,
    "messages": [{"role": ODD, "content": [{"type": ODD, "text": ODD}]}],
    "tools": [{ODD: ODD}],
    ODD: ODD,
}
ODD_HEAD: dict[str, Any] = {
    "run": ODD,
    "host": f"{ODD}.example",
    "path": f"/{ODD}",
    "request_headers": [["user-agent", ODD], [ODD, "x"]],
}


def odd_exchanges() -> dict[str, CapturedExchange]:
    request = json.dumps(ODD_REQUEST).encode()
    stream = b"data: " + json.dumps(ODD_COMPLETION | {"object": ODD}).encode() + b"\n\n"
    changing = b'data: {"x\\ud800":"a"}\n\ndata: {"x\\ud800":"b\\ud800"}\n\ndata: \0\n\n'
    error = json.dumps({"error": dict.fromkeys(("message", "type", "code", "param"), ODD)}).encode()
    return {
        "whole": captured(json.dumps(ODD_COMPLETION).encode(), headers=JSON_HEADERS, request=request, **ODD_HEAD),
        "stream": captured(stream, request=request, **ODD_HEAD),
        "changing": captured(changing),
        "error": captured(error, status=400, headers=[["content-type", ODD], ["x-ratelimit-\udcff", ODD]]),
        "error in words": captured(b'{"error":"a\\u0000\\ud800"}', status=402),
        "bytes": captured(b"\0\xff", request=b"\0\xff", headers=[]),
        "text": captured(b"a\0b", request=b"a\0b", headers=[["content-encoding", ODD]]),
        "cost": captured(b'{"choices":[],"usage":{"cost":1.' + b"1" * 60 + b"}}"),
        "tiny cost": captured(b'{"choices":[],"usage":{"cost":1e-999999999}}'),
    }


def written(folder: Path, row: Any) -> Path:
    (path,) = write_batch(folder, EXCHANGES, "r1-000001", [row], lambda row: row["started_at"])
    return path


@pytest.mark.parametrize("name", odd_exchanges())
def test_odd_characters_and_numbers_come_back_from_parquet(name: str, tmp_path: Path) -> None:
    row = row_of(odd_exchanges()[name])
    path = written(tmp_path, row)
    by_polars = pl.read_parquet(path, hive_partitioning=False).row(0, named=True)
    assert by_polars == row
    assert pl.read_parquet_schema(path) == polars_schema(EXCHANGES.columns)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute("SELECT * FROM read_parquet(?, hive_partitioning = false)", [str(path)])
        by_duckdb = dict(zip([column[0] for column in found.description], found.fetchall()[0], strict=True))
    assert by_duckdb == row


@pytest.mark.parametrize("name", ["whole", "stream"])
def test_odd_completions_come_back_from_parquet(name: str, tmp_path: Path) -> None:
    wanted = loads(json.dumps(ODD_COMPLETION)) | ({"object": ODD} if name == "stream" else {})
    path = written(tmp_path, row_of(odd_exchanges()[name]))
    row: Any = pl.read_parquet(path).row(0, named=True)
    assert rebuild_completion(row) == wanted


def test_text_with_half_a_surrogate_pair_is_stored_without_it() -> None:
    """A stream that is cut off may end in half a surrogate pair; the rest of its text is kept."""
    message = {"role": "a", "content": "Hi \ud83d", "reasoning_content": "Hm \ud83d", "refusal": "No \ud83d"}
    completion = {"choices": [{"index": 0, "message": message, "finish_reason": "length\ud83d"}]}
    row = row_of(captured(json.dumps(completion).encode(), headers=JSON_HEADERS))
    (choice,) = row["choices"]
    texts = [choice[name] for name in ("content", "reasoning", "refusal", "finish_reason")]
    assert texts == ["Hi \ufffd", "Hm \ufffd", "No \ufffd", "length\ufffd"]
    assert rebuild_completion(row) == completion


def test_odd_contents_are_storable() -> None:
    for exchange in odd_exchanges().values():
        for content in make_record(exchange, "r1").contents:
            for text in (content.role, content.text, content.json):
                (text or "").encode("utf-8")


@examples
@given(any_body, any_body, st.sampled_from([*CODINGS, "\0"]), st.sampled_from([200, 402, None]))
def test_any_exchange_makes_a_record(request: bytes, response: bytes, coding: str, status: int | None) -> None:
    headers = [["content-type", "text/event-stream"], ["content-encoding", coding]]
    row = row_of(captured(response, request=request, headers=headers, status=status))
    for name, value in row.items():
        if isinstance(value, str):
            assert storable(value) == value, name
        if isinstance(value, int):
            assert -(2**63) <= value < 2**63, name
