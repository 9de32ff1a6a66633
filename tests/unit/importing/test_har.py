"""HTTP archives taken in: Tapeline's own, mitmproxy's, and what a browser writes; and whatever else is called so."""

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
from tapeline.pipeline.importing.imported_exchange import Found

pytestmark = pytest.mark.slow

BESIDE = Path(sys.executable).parent
KEY = "sk-proj-" + "q9X2" * 12
# What was asked, what was answered, and how it ended.
SAID = (
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
    """An entry as Chromium writes it, of a streamed answer that was gzipped on the wire."""
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
    assert import_file(data, file) == f"{file}: 1 exchanges taken in as run browser\n"
    (row,) = query(data, "SELECT * FROM exchanges")
    return row


def said(data: Path, run: str) -> dict[str, dict[str, Any]]:
    """What was said, by an id that the provider gave to each request."""
    rows = query(data, f"SELECT * FROM exchanges WHERE run = '{run}'")
    ids = [next(h["value"] for h in row["response_headers"] if h["name"] == "x-request-id") for row in rows]
    return {key: {name: row[name] for name in SAID} for key, row in zip(ids, rows, strict=True)}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The workload, recorded by the addon, and mitmdump's flow file of it."""
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


def test_what_was_exported_comes_back_the_same(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    data, _ = recorded
    file = tmp_path / "own.har"
    assert tapeline_here("export", "--data", data, "--format", "har", "-o", file).returncode == 0
    other = tmp_path / "other"
    assert f"{len(WORKLOAD)} exchanges taken in as run own" in import_file(other, file)
    live, back = said(data, "live"), said(other, "own")
    for one in (*live.values(), *back.values()):
        del one["api_key_id"]  # another directory has another salt, and the archive no key
    assert back.keys() == live.keys()
    for key, row in live.items():
        if row["outcome"] == "stream_error":
            assert json.loads(back[key].pop("response_extra"))["error"]["message"] == row["error_message"]
        if row["usage_source"] == "reported_cumulative":
            row["usage_source"] = "reported"  # the answer, put together, has the last counts alone
        assert back[key] == {name: row[name] for name in back[key]}
    ids = "SELECT exchange_id FROM exchanges ORDER BY 1"
    assert query(other, ids) == query(data, ids)
    assert f"{len(WORKLOAD)} were there already" in import_file(data, file)


def test_an_archive_that_mitmproxy_wrote_says_what_was_recorded_live(
    recorded: tuple[Path, Path], tmp_path: Path
) -> None:
    data, flows = recorded
    file = tmp_path / "theirs.har"
    command = [str(BESIDE / "mitmdump"), "-n", "-q", "-r", str(flows)]
    command += ["--set", f"hardump={file}", "--set", f"confdir={tmp_path}"]
    subprocess.run(command, env=clean_environment(), timeout=60, check=True)
    told = import_file(data, file)
    live, theirs = said(data, "live"), said(data, "theirs")
    assert len(theirs) >= len(WORKLOAD) - 2, told
    for key, row in theirs.items():
        if live[key]["outcome"] in ("client_aborted", "upstream_aborted"):
            continue  # it says neither that such an answer was cut, nor what came of it
        # It has the port by the Host header, and sizes of bodies without their coding.
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
def test_how_it_ended(response: dict[str, Any], outcome: str, data: Path, tmp_path: Path) -> None:
    entry = browser_entry()
    assert row_of(data, tmp_path, entry | {"response": entry["response"] | response})["outcome"] == outcome


def test_one_that_was_never_sent_was_not_reached(data: Path, tmp_path: Path) -> None:
    entry = browser_entry(timings={"send": -1, "wait": -1, "receive": -1})
    failed = {"status": 0, "_error": "net::ERR_NAME_NOT_RESOLVED", "content": {"size": 0}}
    row = row_of(data, tmp_path, entry | {"response": entry["response"] | failed})
    assert (row["outcome"], row["outcome_detail"]) == ("unreachable", "net::ERR_NAME_NOT_RESOLVED")
    assert (row["status_code"], row["request_sent_us"], row["response_headers_us"]) == (None, None, None)


def test_a_body_in_base64_and_entries_that_are_alike(data: Path, tmp_path: Path) -> None:
    entry = browser_entry()
    coded = {"text": base64.b64encode(EVENTS.encode()).decode(), "encoding": "base64"}
    entry["response"]["content"] |= coded
    file = tmp_path / "twice.har"
    file.write_text("\ufeff\n" + json.dumps(archive(entry, entry)), "utf-8")
    assert import_file(data, file) == f"{file}: 2 exchanges taken in as run twice\n"
    assert import_file(data, file) == f"{file}: 0 exchanges taken in as run twice; 2 were there already\n"
    rows = query(data, "SELECT choices[1].content AS content FROM exchanges")
    assert rows == [{"content": "Héllo"}] * 2


def test_what_is_left_out_is_counted(data: Path, tmp_path: Path) -> None:
    sanitised = browser_entry()
    del sanitised["response"]["content"]["text"]
    page = browser_entry(request={"method": "GET", "url": "https://shop.example/"})
    file = tmp_path / "mixed.har"
    file.write_text(
        json.dumps(archive(browser_entry(), sanitised, page, "?", {}, browser_entry(startedDateTime="soon")))
    )
    assert import_file(data, file) == (
        f"{file}: 1 exchanges taken in as run mixed; "
        "left out 5: 1 no chat completions, 3 that cannot be read, 1 whose bodies are not in the file\n"
    )


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"plain text", "is no flow file of mitmproxy and no HTTP archive"),
        (b"{", "it begins as JSON does"),
        (b'{"log": 1}', "it begins as JSON does"),
        (b'{"log": {"entries": {}}}', "it begins as JSON does"),
    ],
)
def test_a_bad_file_is_one_line(content: bytes, named: str, data: Path, tmp_path: Path) -> None:
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
    found = Found()
    arrivals = list(read(json.dumps(changed).encode(), found))
    assert len(arrivals) + found.left_out.total() == 1


def test_an_archive_is_an_object_with_a_log() -> None:
    with pytest.raises(DataError):
        list(read(b"[]", Found()))


def _holders(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return [value, *(holder for member in members for holder in _holders(member))]
    return []


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))
