"""Credentials in bodies, and recordings that are to keep no text: what reaches the dataset."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.journals.captured import JSON_HEADERS, captured, row_of
from tests.support.journals.journals import MadeUp, make_journal, recording, write_exchanges
from tests.support.processes.recorder import query

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.keyed_hash import keyed_hash
from tapeline.pipeline.dataset.schema import CONTENT, EXCHANGES
from tapeline.pipeline.records.content_removal import content_without_text, without_content
from tapeline.pipeline.records.record import make_record
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.wire.json_text import dumps
from tapeline.pipeline.wire.redaction import Credential, Redactor

pytestmark = pytest.mark.slow

SALT = b"salt" * 8
SECRET = "sk-proj-" + "abcDEF0123456789" * 2
TOKEN = "ghp_" + "abcDEF0123456789" * 3
NAME, TOKEN_NAME = Redactor(SALT).text(SECRET), Redactor(SALT).text(TOKEN)


def request(text: str, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode()


def event(delta: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


def test_a_credential_split_over_events_is_replaced() -> None:
    events = [event({"content": part}) for part in ("Your key is ", SECRET[:9], SECRET[9:20], SECRET[20:], ".")]
    row = row_of(captured(*events, b"data: [DONE]\n\n", request=request("?")), Redactor(SALT))
    assert row["choices"][0]["content"] == f"Your key is {NAME}."
    assert (row["request_redactions"], row["response_redactions"]) == (0, 1)


def test_credentials_are_replaced_anywhere_in_a_request() -> None:
    tools = [{"type": "mcp", "headers": {"Authorization": "anything at all"}, "url": f"https://h/?t={TOKEN}"}]
    body = request(f"use {SECRET}", tools=tools, api_key="hunter2", metadata={"note": TOKEN}, user=SECRET)
    record = make_record(captured(request=body), "r", Redactor(SALT))
    sealed = dumps([{**record.row, "started_at": None}, [vars(content) for content in record.contents]])
    for secret in (SECRET, TOKEN, "hunter2", "anything at all"):
        assert secret not in sealed
    assert record.row["request_redactions"] == 6
    assert record.row["user"] == NAME
    assert record.contents[0].text == f"use {NAME}"
    # The same credential has the same name, so the same request has the same fingerprint.
    again = make_record(captured(request=body), "r", Redactor(SALT)).row
    assert again["request_fingerprint"] == record.row["request_fingerprint"]


def test_a_body_that_is_no_json_is_searched() -> None:
    record = make_record(captured(f"<p>{TOKEN}</p>".encode(), request=SECRET.encode()), "r", Redactor(SALT))
    assert record.row["request_text"] == NAME
    assert record.row["response_text"] == f"<p>{TOKEN_NAME}</p>"


def test_the_requests_credential_is_replaced_in_an_error() -> None:
    """Its format may be unknown: only its length and its keyed hash are kept to find it by."""
    secret = "my-own-key.17"
    error = json.dumps({"error": {"message": f"Incorrect API key provided: {secret}.", "type": "auth"}}).encode()
    exchange = captured(
        error, status=401, headers=JSON_HEADERS, credentials=[[len(secret), keyed_hash(secret, SALT)], [3, "0"]]
    )
    row = row_of(exchange, Redactor(SALT))
    name = f"[redacted:credential:{keyed_hash(secret, SALT)[:8]}]"
    assert row["error_message"] == f"Incorrect API key provided: {name}."
    assert secret not in row["error_raw"]
    assert row["response_redactions"] == 1


def test_without_redaction_bodies_stay_as_they_are() -> None:
    row = row_of(captured(event({"content": SECRET}), request=request(TOKEN)))
    assert row["choices"][0]["content"] == SECRET
    assert (row["request_redactions"], row["response_redactions"]) == (None, None)


TEXT = "canary-text"
EVERYWHERE = request(
    TEXT,
    user=TEXT,
    stop=TEXT,
    tools=[{"type": "function", "function": {"name": TEXT, "description": TEXT}}],
    tool_choice={"type": "function", "function": {"name": TEXT}},
)
CALL = {"index": 0, "id": TEXT, "type": "function", "function": {"name": TEXT, "arguments": f'"{TEXT}"'}}


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (event({"content": TEXT, "reasoning": TEXT, "refusal": TEXT, "unknown": TEXT, "tool_calls": [CALL]}), 200),
        (b'data: {"error": {"message": "canary-text", "param": "canary-text", "type": "t"}}\n\n', 200),
        (b"data: canary-text\n\n", 200),
        (b"canary-text", 500),
        (b'data: {"choices": [], "unknown": "canary-text", "usage": {"x": "canary-text", "y": 1}}\n\n', 200),
    ],
)
def test_a_record_without_content_has_no_text_and_all_figures(response: bytes, status: int) -> None:
    exchange = captured(response, status=status, request=EVERYWHERE)
    whole = row_of(exchange)
    bare: dict[str, Any] = {**without_content(make_record(exchange, "r1")).row}
    assert TEXT not in repr(bare)
    assert TEXT in repr(whole)
    assert bare["content_kept"] is False
    kept = (
        "model", "message_ids", "tools_id", "request_fingerprint", "prompt_characters", "outcome", "event_sizes",
        "event_offsets_us", "request_bytes", "response_bytes", "prompt_tokens", "error_type", "history_keys",
    )  # fmt: skip
    assert {name: bare[name] for name in kept} == {name: whole[name] for name in kept}
    assert len(bare["reassembly_problems"]) == len(whole["reassembly_problems"])
    for choice, other in zip(bare["choices"] or [], whole["choices"] or [], strict=True):
        assert choice["finish_reason"] == other["finish_reason"]
        assert len(choice["tool_calls"] or []) == len(other["tool_calls"] or [])


def test_every_column_is_still_there() -> None:
    record = without_content(make_record(captured(request=EVERYWHERE), "r"))
    assert set(record.row) == {column.name for column in EXCHANGES.columns}
    row = dict.fromkeys(column.name for column in CONTENT.columns)
    assert content_without_text(row) == row


@pytest.mark.parametrize(
    ("about", "text"),
    [({}, NAME), ({"redact": "none"}, SECRET), ({"redact_patterns": '["Hell."]'}, NAME), ({"content": "none"}, None)],
)
def test_the_journal_decides_how_much_is_kept(data: Path, about: dict[str, str], text: str | None) -> None:
    directory = DataDirectory(data)
    directory.create()
    directory.salt.write_text(SALT.hex(), "ascii")
    make_journal(data, [MadeUp(content=f"Hello {SECRET}", text="Hello")], **about)
    seal(directory)
    (content,) = pl.read_parquet(directory.dataset("content") / "**/*.parquet").to_dicts()
    (row,) = pl.read_parquet(directory.dataset("exchanges") / "**/*.parquet").to_dicts()
    greeting = "Hello" if "redact_patterns" not in about else Redactor(SALT)._name("own", "Hello")
    assert content["text"] == (None if text is None else f"{greeting} {text}")
    assert row["choices"][0]["content"] == (None if text is None else greeting)
    assert row["content_kept"] is (text is not None)
    assert content["bytes"] > 0


@pytest.mark.parametrize("about", [{}, {"content": "none", "redact": "none"}])
def test_no_file_has_the_text_while_the_recorder_runs(data: Path, about: dict[str, str]) -> None:
    directory = DataDirectory(data)
    with recording(data, **about) as writer:
        write_exchanges(writer, [MadeUp(content=SECRET + " " * size, text=TOKEN) for size in (1, 10_000)])
        deadline = time.monotonic() + 20
        while seal(directory).exchanges == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert directory.journal("recorder-1").exists()
        for path in data.rglob("*"):
            if path.is_file():
                assert SECRET.encode() not in path.read_bytes(), path
                assert TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("loaded_between", [True, False])
@pytest.mark.parametrize("order", [("none", "all"), ("all", "none")])
def test_text_that_another_recording_kept_stays_readable(
    data: Path, order: tuple[str, str], loaded_between: bool
) -> None:
    for number, content in enumerate(order):
        make_journal(data, [MadeUp()], f"recorder-{number}", content, content=content)
        if loaded_between:
            query(data, "SELECT 1 AS one")
    assert query(data, "SELECT text, json IS NOT NULL AS has_json FROM content") == [
        {"text": "Hello!", "has_json": True}
    ]


def test_an_empty_credential_is_found_nowhere() -> None:
    assert Redactor(SALT).without("abc", (Credential(0, keyed_hash("", SALT)),)) == "abc"
