"""The import of HTTP archives: Tapeline's own, mitmproxy's, a browser's, and files that only look like one."""

from __future__ import annotations

import base64
import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.processes.mitmproxy import RunningMitmproxy
from tests.support.processes.recorder import clean_environment, query, tapeline_here

from tapeline.pipeline.demo import WORKLOAD, BuiltInProvider, run_workload
from tapeline.pipeline.errors import DataError
from tapeline.pipeline.importing.har import read
from tapeline.pipeline.importing.imported_exchange import ReadReport

pytestmark = pytest.mark.slow

BESIDE = Path(sys.executable).parent
KEY = "sk-proj-" + "q9X2" * 12
# The columns that must come back the same: request, response and ending.
SAME = (
    "provider", "host", "port", "path", "api_key_id", "user_agent", "model", "stream", "tools_id", "message_ids",
    "request_fingerprint", "request_params", "status_code", "streamed", "response_id", "response_model", "choices",
    "response_extra", "usage_raw", "usage_source", "prompt_tokens", "completion_tokens", "total_tokens",
    "cached_tokens", "reasoning_tokens", "reported_cost", "outcome", "error_type", "error_code", "error_message",
    "request_headers", "response_headers", "request_bytes", "response_bytes",
)  # fmt: skip
STREAM = [
    {"id": "c1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hé"}, "finish_reason": None}]}
]
STREAM += [{"id": "c1", "choices": [{"index": 0, "delta": {"content": "llo"}, "finish_reason": "stop"}]}]
EVENTS = "".join(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in STREAM) + "data: [DONE]\n\n"


def browser_entry(**changed: Any) -> dict[str, Any]:
    """An entry as Chromium writes it, for a streamed response that was compressed on the wire."""
    entry = {
        "_connectionId": "2931",
        "_initiator": {"type": "script"},
        "_resourceType": "fetch",
        "cache": {},
        "connection": "443",
        "request": {
            "method": "POST",
            "url": "https://api.openai.com/v1/chat/completions",
            "httpVersion": "h2",
            "headers": [
                {"name": ":method", "value": "POST"},
                {"name": "Authorization", "value": f"Bearer {KEY}"},
                {"name": "content-type", "value": "application/json"},
                {"name": "cookie", "value": "session=verysecretvalue"},
            ],
            "queryString": [],
            "cookies": [{"name": "session", "value": "verysecretvalue"}],
            "headersSize": -1,
            "bodySize": 61,
            "postData": {
                "mimeType": "application/json",
                "text": '{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hi"}]}',
            },
        },
        "response": {
            "status": 200,
            "statusText": "",
            "httpVersion": "h2",
            "headers": [
                {"name": "content-encoding", "value": "gzip"},
                {"name": "content-type", "value": "text/event-stream; charset=utf-8"},
            ],
            "cookies": [],
            "content": {"size": len(EVENTS.encode()), "mimeType": "text/event-stream", "text": EVENTS},
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": -1,
            "_transferSize": 700,
        },
        "serverIPAddress": "192.0.2.1",
        "startedDateTime": "2026-11-21T10:00:00.000Z",
        "time": 1234.5,
        "timings": {
            "blocked": 10.5, "dns": 4, "ssl": 30, "connect": 50, "send": 0.25, "wait": 600, "receive": 569.75,
            "_blocked_queueing": 9.1,
        },
    }  # fmt: skip
    return entry | changed


def archive(*entries: Any) -> dict[str, Any]:
    return {"log": {"version": "1.2", "creator": {"name": "WebInspector", "version": "537.36"}, "entries": [*entries]}}


def import_file(data: Path, *arguments: str | Path) -> str:
    result = tapeline_here("import", *arguments, "--data", data)
    assert result.returncode == 0, result.stderr
    return result.stdout


def row_of(data: Path, folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
    file = folder / "browser.har"
    file.write_text(json.dumps(archive(entry)))
    assert import_file(data, file) == f"{file}: 1 exchanges imported as run browser\n"
    (row,) = query(data, "SELECT * FROM exchanges")
    return row


def same_columns(data: Path, run: str) -> dict[str, dict[str, Any]]:
    """Return the columns `SAME` of each exchange, by the request id that the provider sent."""
    rows = query(data, f"SELECT * FROM exchanges WHERE run = '{run}'")
    ids = [next(h["value"] for h in row["response_headers"] if h["name"] == "x-request-id") for row in rows]
    return {key: {name: row[name] for name in SAME} for key, row in zip(ids, rows, strict=True)}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a directory with the recorded workload, and mitmdump's flow file of the same traffic."""
    folder = tmp_path_factory.mktemp("har")
    data, file = folder / "data", folder / "traffic.mitm"
    options = (f"save_stream_file={file}", "store_streamed_bodies=true", "keep_host_header=true", "tapeline_run=live")
    with (
        BuiltInProvider(pace=0) as provider,
        RunningMitmproxy(BESIDE / "mitmdump", provider.url, data, *options) as proxy,
    ):
        run_workload(WORKLOAD, proxy=None, provider_url=proxy.address)
        proxy.stop()
    return data, file


def test_an_exported_archive_is_imported_unchanged(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    data, _ = recorded
    file = tmp_path / "own.har"
    assert tapeline_here("export", "--data", data, "--format", "har", "-o", file).returncode == 0
    other = tmp_path / "other"
    assert f"{len(WORKLOAD)} exchanges imported as run own" in import_file(other, file)
    live, back = same_columns(data, "live"), same_columns(other, "own")
    for one in (*live.values(), *back.values()):
        del one["api_key_id"]  # another directory has another salt, and the archive no key
    assert back.keys() == live.keys()
    for key, row in live.items():
        if row["outcome"] == "stream_error":
            assert json.loads(back[key].pop("response_extra"))["error"]["message"] == row["error_message"]
        if row["usage_source"] == "reported_cumulative":
            row["usage_source"] = "reported"  # the reassembled response has only the last counts
        assert back[key] == {name: row[name] for name in back[key]}
    ids = "SELECT exchange_id FROM exchanges ORDER BY 1"
    assert query(other, ids) == query(data, ids)
    assert f"{len(WORKLOAD)} were there already" in import_file(data, file)


def test_an_archive_of_mitmproxy_has_the_columns_of_the_live_recording(
    recorded: tuple[Path, Path], tmp_path: Path
) -> None:
    data, flows = recorded
    file = tmp_path / "theirs.har"
    command = [str(BESIDE / "mitmdump"), "-n", "-q", "-r", str(flows)]
    command += ["--set", f"hardump={file}", "--set", f"confdir={tmp_path}"]
    subprocess.run(command, env=clean_environment(), timeout=60, check=True)
    output = import_file(data, file)
    live, theirs = same_columns(data, "live"), same_columns(data, "theirs")
    assert len(theirs) >= len(WORKLOAD) - 2, output
    for key, row in theirs.items():
        if live[key]["outcome"] in ("client_aborted", "upstream_aborted"):
            continue  # the archive shows neither that such a response was cut nor what came of it
        # The archive takes the port from the Host header, and the sizes from bodies without their coding.
        its_own = {name: row[name] for name in ("port", "provider", "request_bytes", "response_bytes")}
        assert row == live[key] | its_own


def test_an_archive_of_a_browser(data: Path, tmp_path: Path) -> None:
    row = row_of(data, tmp_path, browser_entry())
    assert row["choices"][0]["content"] == "Héllo"
    assert (row["outcome"], row["streamed"], row["usage_source"]) == ("complete", True, "absent")
    assert (row["host"], row["port"], row["provider"], row["mode"]) == ("api.openai.com", 443, "openai", None)
    assert (row["http_version"], row["client_connection_id"]) == ("HTTP/2.0", "443")
    assert row["started_at"] == "2026-11-21T10:00:00.064500+00:00"
    assert (row["connect_us"], row["tls_us"]) == (20_000, 30_000)
    assert (row["request_sent_us"], row["response_headers_us"], row["ended_us"]) == (250, 600_250, 1_170_000)
    assert (row["first_event_us"], row["first_token_us"], row["event_offsets_us"]) == (None, None, None)
    assert row["event_sizes"] == [2, 3, 0]
    assert (row["request_bytes"], row["response_bytes"]) == (61, None)
    assert row["api_key_id"].startswith("key-")
    assert {header["name"] for header in row["request_headers"]} == {"content-type"}
    for path in data.rglob("*"):
        assert not path.is_file() or not {KEY.encode(), b"verysecretvalue"} & set(path.read_bytes().split(b'"'))
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        ({"_error": "net::ERR_ABORTED", "content": {"size": 60, "text": EVENTS[:120]}}, "client_aborted"),
        ({"_error": "net::ERR_CONNECTION_RESET", "content": {"size": 60, "text": EVENTS[:120]}}, "upstream_aborted"),
        ({"content": {"size": 60, "text": EVENTS[:120]}}, "truncated"),
        ({"status": 0, "_error": "net::ERR_ABORTED", "content": {"size": 0}}, "client_aborted"),
        ({"status": 429, "content": {"size": 90}}, "http_error"),
        ({"content": {"size": 0}}, "invalid"),
    ],
)
def test_the_outcome_follows_from_the_entry(response: dict[str, Any], outcome: str, data: Path, tmp_path: Path) -> None:
    entry = browser_entry()
    assert row_of(data, tmp_path, entry | {"response": entry["response"] | response})["outcome"] == outcome


def test_a_request_that_was_never_sent_is_unreachable(data: Path, tmp_path: Path) -> None:
    entry = browser_entry(timings={"send": -1, "wait": -1, "receive": -1})
    failed = {"status": 0, "_error": "net::ERR_NAME_NOT_RESOLVED", "content": {"size": 0}}
    row = row_of(data, tmp_path, entry | {"response": entry["response"] | failed})
    assert (row["outcome"], row["outcome_detail"]) == ("unreachable", "net::ERR_NAME_NOT_RESOLVED")
    assert (row["status_code"], row["request_sent_us"], row["response_headers_us"]) == (None, None, None)


def test_a_body_in_base64_and_two_equal_entries(data: Path, tmp_path: Path) -> None:
    entry = browser_entry()
    coded = {"text": base64.b64encode(EVENTS.encode()).decode(), "encoding": "base64"}
    entry["response"]["content"] |= coded
    file = tmp_path / "twice.har"
    file.write_text("\ufeff\n" + json.dumps(archive(entry, entry)), "utf-8")
    assert import_file(data, file) == f"{file}: 2 exchanges imported as run twice\n"
    assert import_file(data, file) == f"{file}: 0 exchanges imported as run twice; 2 were there already\n"
    rows = query(data, "SELECT choices[1].content AS content FROM exchanges")
    assert rows == [{"content": "Héllo"}] * 2


def test_skipped_entries_are_counted_by_reason(data: Path, tmp_path: Path) -> None:
    sanitised = browser_entry()
    del sanitised["response"]["content"]["text"]
    page = browser_entry(request={"method": "GET", "url": "https://shop.example/"})
    file = tmp_path / "mixed.har"
    file.write_text(
        json.dumps(archive(browser_entry(), sanitised, page, "?", {}, browser_entry(startedDateTime="soon")))
    )
    assert import_file(data, file) == (
        f"{file}: 1 exchanges imported as run mixed; "
        "left out 5: 1 not a chat completion, 3 unreadable, 1 without its body\n"
    )


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"plain text", "is neither a flow file of mitmproxy nor an HTTP archive"),
        (b"{", "it looks like JSON"),
        (b'{"log": 1}', "it looks like JSON"),
        (b'{"log": {"entries": {}}}', "it looks like JSON"),
    ],
)
def test_a_bad_file_gets_an_error_of_one_line(content: bytes, named: str, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.har"
    file.write_bytes(content)
    result = tapeline_here("import", file, "--data", data)
    assert (result.returncode, result.stdout) == (3, "")
    assert named in result.stderr
    assert str(file) in result.stderr
    assert result.stderr.count("\n") == 1
    missing = tapeline_here("import", tmp_path / "missing.har", "--data", data)
    assert missing.returncode == 2


JUNK = st.sampled_from(
    [None, True, -1, 10**30, 1.5, 1e308, "", "\ud800", "x" * 9, [], [None], {}, {"name": 1}, ["\x00"]]
)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 400), min_size=1, max_size=3), JUNK)
def test_no_entry_raises_whatever_it_holds(places: list[int], junk: Any) -> None:
    changed = archive(copy.deepcopy(browser_entry()))
    slots = [(holder, key) for holder in _holders(changed["log"]["entries"][0]) for key in _keys(holder)]
    for place in places:
        holder, key = slots[place % len(slots)]
        holder[key] = junk
    report = ReadReport()
    exchanges = list(read(json.dumps(changed).encode(), report))
    assert len(exchanges) + report.skipped.total() == 1


def test_an_archive_is_an_object_with_a_log() -> None:
    with pytest.raises(DataError):
        list(read(b"[]", ReadReport()))


def _holders(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return [value, *(holder for member in members for holder in _holders(member))]
    return []


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))
