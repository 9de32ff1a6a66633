"""`tapeline export`: what the formats of lines hold, which exchanges they leave out, and how these are reported."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import TypeAdapter

from tests.support.journals.journals import DAY_US, NOON_US, MadeUp, make_journal
from tests.support.processes.recorder import query, shown, tapeline_here

pytestmark = pytest.mark.slow

IMAGE = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 8).decode()
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
CUSTOM_CALL = {"id": "call_2", "type": "custom", "custom": {"name": "grep", "input": "tape"}}
HISTORY = [
    {"role": "system", "content": "Be short."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": IMAGE}}],
    },
]
SECRET = "sk-proj-" + "a1B2" * 12


def choice(message: dict[str, Any], finish_reason: str | None, index: int = 0) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}


EXCHANGES = [
    MadeUp(messages=HISTORY, params={"stream": True, "stream_options": {"include_usage": True}, "top_k": 3}),
    MadeUp(
        "Weather?",
        params={"tools": TOOLS, "parallel_tool_calls": False},
        answered={
            "choices": [choice({"content": None, "tool_calls": [{"index": 0, **CALL}, CUSTOM_CALL]}, "tool_calls")]
        },
    ),
    MadeUp("Two?", answered={"choices": [choice({"content": "b"}, "stop", 1), choice({"content": "a"}, "stop", 0)]}),
    MadeUp(
        "Think.\u2028\u2029\x85", answered={"choices": [choice({"content": "Ja.", "reasoning_content": "Hm."}, "stop")]}
    ),
    MadeUp("Long?", finish_reason="length", started_at_us=NOON_US + DAY_US),
    MadeUp(f"My key is {SECRET}."),
    MadeUp("Say a key.", text=f"It is {SECRET}."),
    MadeUp("Broken?", status=500, body=b'{"error": {"message": "no", "type": "server_error"}}'),
    MadeUp(asked=b"no JSON"),
    MadeUp("Which model?", params={"model": None}),
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("export") / "data"
    started = [
        MadeUp(**vars(exchange) | {"started_at_us": exchange.started_at_us + n}) for n, exchange in enumerate(EXCHANGES)
    ]
    make_journal(data, started)
    make_journal(data, [MadeUp("Nothing is kept.", started_at_us=NOON_US + 99)], "recorder-2", "silent", content="none")
    return data


def exported(data: Path, format_name: str, *options: str) -> tuple[list[dict[str, Any]], str]:
    result = tapeline_here("export", "--data", data, "--format", format_name, *options)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def test_a_pair_is_what_show_prints(recorded: Path) -> None:
    lines, notes = exported(recorded, "pairs")
    assert lines == [shown(recorded, line["exchange"]["exchange_id"]) for line in lines]
    assert lines[0]["request"]["messages"] == HISTORY
    assert notes == "Exported 11 exchanges.\n"


def test_an_example_has_the_request_and_a_complete_response(recorded: Path) -> None:
    lines, notes = exported(recorded, "finetune")
    assert lines[0] == {"messages": [*HISTORY, {"role": "assistant", "content": "Hi."}]}
    assert lines[1]["messages"][-1] == {"role": "assistant", "tool_calls": [CALL, CUSTOM_CALL]}
    assert (lines[1]["tools"], lines[1]["parallel_tool_calls"]) == (TOOLS, False)
    assert [line["messages"][-1].get("content") for line in lines] == ["Hi.", None, "a", "Ja.", "Hi."]
    assert all(line["messages"][-1].keys() <= {"role", "content", "tool_calls"} for line in lines)
    messages = TypeAdapter(list[ChatCompletionMessageParam])
    for line in lines:
        messages.validate_python(line["messages"])
    assert notes == (
        "Exported 5 exchanges; left out 6: 2 with names in place of credentials, "
        "2 without a complete response, 1 recorded without content, 1 with an incomplete request.\n"
    )


def test_a_batch_has_the_requests_as_they_were(recorded: Path) -> None:
    lines, notes = exported(recorded, "batch")
    ids = [row["exchange_id"] for row in query(recorded, "SELECT exchange_id FROM exchanges ORDER BY started_at")]
    assert {line["custom_id"] for line in lines} < set(ids)
    assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}
    assert lines[0]["body"] == {"model": "gpt-4o-mini", "top_k": 3, "messages": HISTORY}
    assert lines[1]["body"]["tools"] == TOOLS
    assert [line["body"]["messages"][-1]["content"] for line in lines[4:]] == ["Say a key.", "Broken?", "Long?"]
    assert notes == (
        "Exported 7 exchanges; left out 4: 2 with an incomplete request, 1 recorded without content, "
        "1 with names in place of credentials.\n"
    )


@pytest.mark.parametrize("format_name", ["pairs", "finetune", "batch"])
def test_no_credential_is_exported(format_name: str, recorded: Path) -> None:
    assert SECRET not in json.dumps(exported(recorded, format_name)[0])


def test_missing_content_is_not_made_up(tmp_path: Path) -> None:
    make_journal(tmp_path, [MadeUp(messages=HISTORY), MadeUp("Hello!", started_at_us=NOON_US + DAY_US)])
    query(tmp_path, "SELECT 1")
    next(tmp_path.glob("content/date=2026-11-21/*")).unlink()
    (tmp_path / "warehouse.duckdb").unlink()
    for format_name in ("finetune", "batch"):
        lines, notes = exported(tmp_path, format_name)
        assert len(lines) == 1
        assert "left out 1: 1 with an incomplete request" in notes
    assert exported(tmp_path, "pairs")[0][0]["request"]["messages"] == [None, None]


def test_filters_select_exchanges(recorded: Path) -> None:
    assert len(exported(recorded, "pairs", "--run", "silent")[0]) == 1
    assert len(exported(recorded, "pairs", "--since", "2026-11-22")[0]) == 1
    assert exported(recorded, "batch", "--model", "other-*")[1] == "Exported 0 exchanges.\n"


def test_a_file_is_private_and_either_complete_or_absent(recorded: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    result = tapeline_here("export", "--data", recorded, "-o", target)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == f"Wrote {target}\nExported 11 exchanges.\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert len(target.read_text().splitlines()) == 11
    wrong = tapeline_here("export", "--data", recorded, "--run", "nobody", "-o", target)
    assert wrong.returncode == 2
    assert "There is no run 'nobody'" in wrong.stderr
    assert len(target.read_text().splitlines()) == 11
    assert list(tmp_path.iterdir()) == [target]
    nowhere = tapeline_here("export", "--data", recorded, "-o", tmp_path / "no" / "where.jsonl")
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (2, 1)
    assert tapeline_here("export", "--data", recorded, "-o", os.devnull).returncode == 0
    assert Path(os.devnull).exists()
