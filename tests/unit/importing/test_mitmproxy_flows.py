"""The import of flow files that mitmdump wrote: the figures are those of the live recording of the same traffic."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.flow import Error, Flow
from mitmproxy.io import FlowReader, FlowWriter
from mitmproxy.test import tflow
from tests.support.processes.mitmproxy import RunningMitmproxy
from tests.support.processes.recorder import TAPELINE, clean_environment, query, tapeline_here

from tapeline.pipeline.demo import WORKLOAD, BuiltInProvider, run_workload
from tapeline.pipeline.importing.imported_exchange import ReadReport
from tapeline.pipeline.importing.mitmproxy_flows import read

pytestmark = pytest.mark.slow

BESIDE = Path(sys.executable).parent
# Columns that differ between two recordings, and times that a flow lacks or takes by another clock.
OWN = {"exchange_id", "recorder_id", "run", "started_at", "parent_exchange_id", "conversation_id", "day"}
OWN |= {"repeated_prefix_messages", "repeated_prefix_characters", "event_offsets_us"}
UNKNOWN = (
    "first_byte_us", "first_event_us", "first_token_us", "first_content_us", "first_reasoning_us",
    "first_tool_call_us", "last_token_us", "event_offsets_us",
)  # fmt: skip
CUT = ("client_aborted", "upstream_aborted")
# A key of no known format: it can only be masked in bodies because the request carries it.
KEY = "house key of the third floor, 0123456789".replace(" ", "-")


def import_file(data: Path, *arguments: str | Path) -> str:
    result = tapeline_here("import", *arguments, "--data", data)
    assert result.returncode == 0, result.stderr
    return result.stdout


def rows_of(data: Path, run: str) -> list[dict[str, Any]]:
    return query(data, f"SELECT * FROM exchanges WHERE run = '{run}' ORDER BY started_at, exchange_id")


def chat_flow(response: Any = None, **request: Any) -> http.HTTPFlow:
    """A complete exchange as mitmproxy holds it, which took one and a half seconds."""
    flow = tflow.tflow(resp=True)
    flow.request = http.Request.make(
        "POST", "https://api.openai.com/v1/chat/completions?api-version=1&key=k", json.dumps({"model": "m", **request})
    )
    flow.request.headers["authorization"] = f"Bearer {KEY}"
    flow.request.timestamp_start, flow.request.timestamp_end = 1_795_255_200.0, 1_795_255_200.25
    message = {"role": "assistant", "content": f"You said {KEY}."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    flow.response = http.Response.make(200, json.dumps(response or {"choices": [choice]}))
    flow.response.timestamp_start, flow.response.timestamp_end = 1_795_255_201.0, 1_795_255_201.5
    flow.error = None
    return flow


def written(path: Path, *flows: Flow) -> Path:
    with path.open("wb") as file:
        for flow in flows:
            FlowWriter(file).add(flow)
    return path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a directory that the addon recorded to, and the flow file that mitmdump wrote of the same traffic."""
    folder = tmp_path_factory.mktemp("mitm")
    data, file = folder / "data", folder / "traffic.mitm"
    settings = (f"save_stream_file={file}", "store_streamed_bodies=true", "keep_host_header=true", "tapeline_run=live")
    with (
        BuiltInProvider(pace=0) as provider,
        RunningMitmproxy(BESIDE / "mitmdump", provider.url, data, *settings) as proxy,
    ):
        run_workload(WORKLOAD, proxy=None, provider_url=proxy.address)
        proxy.stop()
    return data, file


def test_figures_are_those_of_the_live_recording(both: tuple[Path, Path]) -> None:
    data, file = both
    assert import_file(data, file) == f"{file}: {len(WORKLOAD)} exchanges imported as run traffic\n"
    live, imported = rows_of(data, "live"), rows_of(data, "traffic")
    assert len(imported) == len(live) == len(WORKLOAD)

    def sorted_by_request(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Equal requests stay in the order in which they were sent; a broken-off response has no id in a flow file."""
        return sorted(rows, key=lambda row: (row["request_fingerprint"] or "", row["user"] or ""))

    compared = 0
    for ours, theirs in zip(sorted_by_request(live), sorted_by_request(imported), strict=True):
        if theirs["outcome"] in CUT:
            # mitmproxy keeps no body of a response that broke off; the recorder knows if it was whole by then.
            assert ours["outcome"] in (theirs["outcome"], "complete")
            continue
        assert theirs["outcome"] == ours["outcome"]
        for column in ours.keys() - OWN:
            if not column.endswith("_us"):
                assert theirs[column] == ours[column], column
        assert all(theirs[column] is None for column in UNKNOWN)
        assert 0 <= theirs["request_sent_us"] <= theirs["response_headers_us"] <= theirs["ended_us"]
        compared += 1
    assert compared >= len(WORKLOAD) - 2


def test_importing_a_file_again_adds_nothing(both: tuple[Path, Path]) -> None:
    data, file = both
    import_file(data, file)
    before = query(data, "SELECT count(*) AS n FROM exchanges")
    output = import_file(data, file, "--run", "again")
    assert output == f"{file}: 0 exchanges imported as run again; {len(WORKLOAD)} were there already\n"
    assert query(data, "SELECT count(*) AS n FROM exchanges") == before


def test_a_damaged_file_is_imported_up_to_the_damage(both: tuple[Path, Path], tmp_path: Path) -> None:
    _, file = both
    cut = tmp_path / "cut.mitm"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    result = tapeline_here("import", cut, "--data", tmp_path / "data")
    count = query(tmp_path / "data", "SELECT count(*) AS n FROM exchanges")[0]["n"]
    assert 0 < count < len(WORKLOAD)
    assert result.returncode == 3
    assert result.stdout == f"{cut}: {count} exchanges imported as run cut\n"
    assert result.stderr.startswith(f"Error: {cut} is damaged after {count} flows: ")
    assert result.stderr.count("\n") == 1
    rest = import_file(tmp_path / "data", file)
    assert rest == f"{file}: {len(WORKLOAD) - count} exchanges imported as run traffic; {count} were there already\n"


def test_no_credential_of_a_file_is_kept_anywhere(data: Path, tmp_path: Path) -> None:
    import_file(data, written(tmp_path / "one.mitm", chat_flow(messages=[{"role": "user", "content": KEY}])))
    (row,) = rows_of(data, "one")
    assert row["api_key_id"].startswith("key-")
    assert row["path"] == "/v1/chat/completions?api-version=1"
    assert (row["request_redactions"], row["response_redactions"]) == (1, 1)
    for path in data.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
    (shown,) = query(data, "SELECT text FROM content")
    assert shown["text"].startswith("[redacted:")


def test_times_are_those_of_the_flow(data: Path, tmp_path: Path) -> None:
    flow, later = chat_flow(), chat_flow()
    for one in (flow, later):
        one.server_conn.timestamp_start, one.server_conn.timestamp_tcp_setup = 1_795_255_199.0, 1_795_255_199.5
        one.server_conn.timestamp_tls_setup = 1_795_255_199.75
        one.server_conn.id = "the same"
    later.request.timestamp_start = 1_795_255_200.01
    import_file(data, written(tmp_path / "two.mitm", flow, later))
    first, second = rows_of(data, "two")
    assert first["started_at"].startswith("2026-11-21T10:00:00")
    assert (first["request_sent_us"], first["response_headers_us"], first["ended_us"]) == (
        250_000,
        1_000_000,
        1_500_000,
    )
    assert (first["connect_us"], first["tls_us"]) == (500_000, 250_000)
    assert (second["connect_us"], second["tls_us"]) == (None, None)


def test_skipped_flows_are_counted_by_reason(data: Path, tmp_path: Path) -> None:
    streamed = chat_flow()
    assert streamed.response is not None
    streamed.response.raw_content = None
    other = chat_flow()
    other.request.path = "/v1/embeddings"
    file = written(tmp_path / "all.mitm", chat_flow(), streamed, other, tflow.ttcpflow(), tflow.tdnsflow())
    assert import_file(data, file) == (
        f"{file}: 1 exchanges imported as run all; left out 4: 3 not a chat completion, 1 without its body\n"
    )


@pytest.mark.parametrize(
    ("message", "outcome"), [("Client disconnected.", "client_aborted"), ("Server closed.", "upstream_aborted")]
)
def test_the_outcome_follows_from_the_error_message(message: str, outcome: str, data: Path, tmp_path: Path) -> None:
    flow = chat_flow()
    assert flow.response is not None
    flow.response.raw_content = flow.response.timestamp_end = None
    flow.error = Error(message, 1_795_255_201.25)
    import_file(data, written(tmp_path / "cut.mitm", flow))
    (row,) = rows_of(data, "cut")
    assert (row["outcome"], row["outcome_detail"], row["ended_us"]) == (outcome, message, 1_250_000)
    assert (row["response_bytes"], row["choices"]) == (None, None)


def test_the_next_import_completes_one_that_was_killed(data: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "many.mitm", *(chat_flow() for _ in range(900)))
    with subprocess.Popen([*TAPELINE, "import", str(file), "--data", str(data)], env=clean_environment()) as process:
        while process.poll() is None and not has_exchanges(data):
            pass
        process.kill()
    output = import_file(data, file)
    assert "were there already" in output
    assert query(data, "SELECT count(*) AS n, count(DISTINCT exchange_id) AS d FROM exchanges") == [
        {"n": 900, "d": 900}
    ]


def test_two_imports_of_a_file_at_once_store_each_exchange_once(data: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "many.mitm", *(chat_flow() for _ in range(250)))
    command = [*TAPELINE, "import", str(file), "--data", str(data)]
    both = [subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    output = sorted(process.communicate(timeout=60)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert "0 exchanges imported as run many; 250 were there already" in output[0]
    assert query(data, "SELECT count(*) AS n FROM exchanges") == [{"n": 250}]


def has_exchanges(data: Path) -> bool:
    for journal in data.glob("journal/*.sqlite"):
        try:
            with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
                return bool(connection.execute("SELECT count(*) FROM exchange").fetchone()[0])
        except sqlite3.Error:
            return False
    return False


def test_a_garbled_file_never_raises() -> None:
    """With any byte changed, reading a flow file yields exchanges or reports damage."""
    buffer = BytesIO()
    FlowWriter(buffer).add(chat_flow())
    whole = buffer.getvalue()
    assert len(list(FlowReader(BytesIO(whole)).stream())) == 1
    for position in range(0, len(whole), 7):
        changed = whole[:position] + bytes([whole[position] ^ 0x11]) + whole[position + 1 :]
        for garbled in (changed, whole[:position]):
            report = ReadReport()
            exchanges = list(read(_FileOf(garbled), report))  # type: ignore[arg-type]
            assert len(exchanges) + report.skipped.total() + (report.damage is not None) <= 2


class _FileOf:
    """Bytes that can be opened like a path."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, _mode: str) -> BytesIO:
        return BytesIO(self._data)
