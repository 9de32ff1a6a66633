"""HTTP archives are valid by the schema, open in Chromium's developer tools, and hold what was measured."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.clients.har import errors_in, opened_in_developer_tools
from tests.support.journals.journals import NOON_US, MadeUp, make_journal
from tests.support.processes.recorder import RunningRecorder, tapeline_here

from tapeline.pipeline.demo import WORKLOAD, BuiltInProvider, run_workload

CREDENTIAL = "sk-proj-" + "a1B2" * 12
CHUNK = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
STREAM = f"data: {json.dumps(CHUNK)}\n\n".encode()
EVENTS = "text/event-stream"
NOT_UTF8 = b"\xff\xfe\x00 no text"


def archive_of(data: Path, *options: str) -> dict[str, Any]:
    result = tapeline_here("export", "--data", data, "--format", "har", *options)
    assert result.returncode == 0, result.stderr
    archive: dict[str, Any] = json.loads(result.stdout)
    return archive


def pairs_of(data: Path) -> list[dict[str, Any]]:
    """Return what `tapeline show --json` prints for each exchange."""
    result = tapeline_here("export", "--data", data)
    return [json.loads(line) for line in result.stdout.splitlines()]


def entry_of(data: Path, exchange: MadeUp, **about: str) -> dict[str, Any]:
    make_journal(data, [exchange], **about)
    archive = archive_of(data)
    assert errors_in(archive) == []
    (entry,) = archive["log"]["entries"]
    return dict(entry)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's workload, recorded."""
    data = tmp_path_factory.mktemp("har") / "data"
    with BuiltInProvider(pace=0) as provider, RunningRecorder(data, "--mode", f"upstream:{provider.url}") as recorder:
        run_workload(WORKLOAD, proxy=recorder.address, provider_url=provider.url)
    return data


@pytest.mark.slow
def test_an_archive_of_all_systems_is_valid_and_holds_what_was_recorded(recorded: Path) -> None:
    archive, recordings = archive_of(recorded), pairs_of(recorded)
    assert errors_in(archive) == []
    assert archive["log"]["version"] == "1.2"
    for entry, document in zip(archive["log"]["entries"], recordings, strict=True):
        row = document["exchange"]
        assert json.loads(entry["request"]["postData"]["text"]) == document["request"]
        assert entry["response"]["status"] == (row["status_code"] or 0)
        if isinstance(document["response"], dict):
            response = json.loads(entry["response"]["content"]["text"])
            assert response == document["response"] | ({"error": response["error"]} if "error" in response else {})
        known = [
            entry["timings"][name] for name in ("send", "wait", "receive", "connect") if entry["timings"][name] > 0
        ]
        assert entry["time"] == pytest.approx(sum(known)) == pytest.approx(row["ended_us"] / 1000)
        assert entry["startedDateTime"].removesuffix("Z") == row["started_at"].removesuffix("+00:00")
        names = {header["name"] for header in entry["request"]["headers"]}
        assert "authorization" not in names
        assert entry["_outcome"] == row["outcome"]


@pytest.mark.slow
def test_chromiums_developer_tools_open_an_archive(recorded: Path) -> None:
    archive = archive_of(recorded)
    opened = opened_in_developer_tools(archive)
    for entry, request in zip(archive["log"]["entries"], opened, strict=True):
        assert (request["url"], request["method"]) == (entry["request"]["url"], "POST")
        assert (request["status"], request["type"]) == (entry["response"]["status"], "fetch")
        assert request["request"] == entry["request"]["postData"]["text"]
        assert request["response"] == entry["response"]["content"].get("text")
        assert request["took"] * 1000 == pytest.approx(entry["time"], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "scheme", "before_ms", "wait_ms"),
    [("reverse", "https", 0, 70), ("regular", "http", 0, 70), ("regular", "https", 30, 100)],
)
def test_connecting_is_counted_once_in_its_place(
    mode: str, scheme: str, before_ms: int, wait_ms: int, data: Path
) -> None:
    head = {"mode": mode, "scheme": scheme}
    entry = entry_of(data, MadeUp(head=head, ending={"connect_us": 10_000, "tls_us": 20_000}))
    expected = {
        "blocked": -1,
        "dns": -1,
        "connect": 30,
        "ssl": 20,
        "send": 0.02,
        "wait": wait_ms - 0.02,
        "receive": 100,
    }
    assert entry["timings"] == pytest.approx(expected)
    assert entry["time"] == 200 + before_ms
    assert entry["startedDateTime"] == ("2026-11-21T09:59:59.970000Z" if before_ms else "2026-11-21T10:00:00Z")


@pytest.mark.slow
def test_unknown_values_are_marked_as_unknown(data: Path) -> None:
    entry = entry_of(data, MadeUp("Hello!", text=f"It is {CREDENTIAL}."), content="none")
    assert "text" not in entry["request"]["postData"]
    (choice,) = json.loads(entry["response"]["content"]["text"])["choices"]
    assert "content" not in choice.get("message", {})
    assert entry["response"]["content"]["comment"] == (
        "The recording keeps no content, so the texts are missing. Names replace 1 credentials."
    )
    assert CREDENTIAL not in json.dumps(entry)
    assert (entry["timings"]["connect"], entry["timings"]["ssl"]) == (-1, -1)


@pytest.mark.slow
def test_a_stream_that_broke_off_has_the_part_that_came(data: Path) -> None:
    error = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'
    entry = entry_of(data, MadeUp(params={"stream": True}, body=STREAM + error, content_type=EVENTS))
    response = json.loads(entry["response"]["content"]["text"])
    assert response["choices"][0]["message"]["content"] == "Hi"
    assert response["error"] == {"message": "overloaded", "code": 503}
    assert entry["response"]["content"]["comment"].startswith("An event stream, reassembled")
    assert entry["response"]["content"]["size"] == len(STREAM + error)


@pytest.mark.slow
def test_a_body_that_is_not_text_and_one_that_is_compressed(data: Path, tmp_path: Path) -> None:
    entry = entry_of(data, MadeUp(body=NOT_UTF8))
    content = entry["response"]["content"]
    assert base64.b64decode(content["text"]) == NOT_UTF8
    assert content["encoding"] == "base64"
    zipped = entry_of(tmp_path / "zipped", MadeUp(started_at_us=NOON_US, headers=[["content-encoding", "identity"]]))
    assert zipped["response"]["content"]["size"] == len(zipped["response"]["content"]["text"])
    assert zipped["response"]["bodySize"] == len(MadeUp().response)


@pytest.mark.slow
def test_a_request_without_a_response(data: Path) -> None:
    with RunningRecorder(data, "--upstream", "http://127.0.0.1:9") as recorder:
        run_workload(WORKLOAD[:1], proxy=None, provider_url=recorder.address)
    archive = archive_of(data)
    assert errors_in(archive) == []
    (entry,) = archive["log"]["entries"]
    assert (entry["response"]["status"], entry["_outcome"]) == (0, "unreachable")
    assert entry["response"]["_error"]
    assert entry["timings"]["receive"] == -1
