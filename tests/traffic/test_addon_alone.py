"""The addon in mitmproxy's own programs: where Tapeline is not installed, and where it is."""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import sys
import venv
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tapeline.pipeline.demo import BuiltInProvider
from tests.support.clients.reading import events_in, joined, recorded_summary, summary
from tests.support.clients.wire import ask, chat
from tests.support.places import ROOT
from tests.support.processes.mitmproxy import RunningMitmproxy, with_addon
from tests.support.processes.recorder import STOP_SECONDS, clean_environment, query, tapeline

pytestmark = pytest.mark.slow

BESIDE = Path(sys.executable).parent
LOCK = ROOT / "requirements.lock"
PIP_SECONDS = 100.0
_PINNED = re.compile(r"^([\w.-]+==[^\s;\\]+)", re.MULTILINE)


def ask_both_ways(address: str) -> tuple[bytes, bytes]:
    """A whole answer and a streamed one, as they were read."""
    parts = urlsplit(address)
    with closing(HTTPConnection(str(parts.hostname), parts.port, timeout=30)) as connection:
        whole = ask(connection, chat("gpt-4o"))
        streamed = ask(connection, chat("deepseek-reasoner", stream=True))
    assert (whole[0], streamed[0]) == (200, 200)
    return whole[1], streamed[1]


def assert_recorded(data: Path, provider: BuiltInProvider, read: tuple[bytes, bytes]) -> None:
    rows = query(data, "SELECT * FROM exchanges ORDER BY started_at, exchange_id")
    assert [row["outcome"] for row in rows] == ["complete", "complete"]
    assert [sent.body for sent in provider.sent] == list(read)
    assert recorded_summary(rows[0]) == summary(provider.sent[0].completion or {})
    assert recorded_summary(rows[1]) == summary(joined(events_in(read[1])))
    assert [row["response_bytes"] for row in rows] == [len(body) for body in read]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with mitmproxy and what it needs, in the versions of the lock."""
    folder = tmp_path_factory.mktemp("bare")
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(_PINNED.findall(LOCK.read_text())))
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    programs = folder / "venv" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "--disable-pip-version-check", "--quiet"]
    try:
        result = subprocess.run(
            [*pip, "install", "--constraint", str(constraints), "mitmproxy"],
            capture_output=True,
            text=True,
            timeout=PIP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"pip could not install mitmproxy within {PIP_SECONDS:.0f} s")
    if result.returncode:
        pytest.skip(f"pip could not install mitmproxy: {result.stderr.strip().splitlines()[-1:]}")
    return programs


def test_mitmproxy_alone_records_and_tapeline_loads_it_later(bare: Path, data: Path, provider: BuiltInProvider) -> None:
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('tapeline') is not None)"
    subprocess.run([bare / "python", "-c", look], cwd=data.parent, env=clean_environment(), timeout=30, check=True)
    with RunningMitmproxy(bare / "mitmdump", provider.url, data, "tapeline_run=bare") as proxy:
        read = ask_both_ways(proxy.address)
        assert proxy.stop() == 0, proxy.said
    assert len(list((data / "journal").glob("*.sqlite"))) == 1
    assert not (data / "exchanges").exists()
    loaded = tapeline("load", "--data", data)
    assert loaded.stdout.splitlines()[0] == "sealed: 2 exchanges in 1 batches of 1 recorders"
    assert loaded.stderr == ""
    assert_recorded(data, provider, read)
    assert query(data, "SELECT DISTINCT run FROM exchanges") == [{"run": "bare"}]


def test_mitmdump_beside_tapeline(data: Path, provider: BuiltInProvider) -> None:
    with RunningMitmproxy(BESIDE / "mitmdump", provider.url, data) as proxy:
        read = ask_both_ways(proxy.address)
        assert proxy.stop() == 0, proxy.said
    assert_recorded(data, provider, read)


def test_mitmweb_beside_tapeline(data: Path, provider: BuiltInProvider) -> None:
    port = unused_port()
    web = ("web_open_browser=false", f"web_port={port}", "web_password=let-me-see")
    with RunningMitmproxy(BESIDE / "mitmweb", provider.url, data, *web) as proxy:
        read = ask_both_ways(proxy.address)
        flows = seen_in_web(port, "flows")
        shown = [
            seen_in_web(port, f"flows/{flow['id']}/{message}/content/auto")
            for flow in flows
            for message in ("request", "response")
        ]
        assert proxy.stop() == 0, proxy.said
    assert_recorded(data, provider, read)
    assert {view["view_name"] for view in shown} == {"chat completion"}
    asked, _, asked_to_stream, streamed = (view["text"].splitlines() for view in shown)
    assert asked[-2:] == ["user:", "Hello?"]
    assert "stream: true" in asked_to_stream
    (choice,) = joined(events_in(read[1]))["choices"]
    assert choice["message"]["content"] in "\n".join(streamed)
    assert f"[reasoning_content] {choice['message']['reasoning_content']}" in "\n".join(streamed)
    assert f"[finish reason] {choice['finish_reason']}" in streamed


def unused_port() -> int:
    """Return a free port below those that the system hands out itself, so that no other test gets it meanwhile."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def seen_in_web(port: int, path: str) -> Any:
    """What mitmweb's page is told."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", f"/{path}", headers={"Authorization": "Bearer let-me-see"})
        response = connection.getresponse()
        body = response.read()
    assert response.status == 200, body
    return json.loads(body)


def test_a_directory_that_cannot_be_written_ends_mitmdump_with_a_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    data = tmp_path / "file" / "recordings"
    result = subprocess.run(
        [*with_addon(BESIDE / "mitmdump", data, f"confdir={tmp_path / 'confdir'}"), "--mode", "regular@127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=STOP_SECONDS,
        env=clean_environment(),
        check=False,
    )
    assert result.returncode != 0
    assert "Traceback" not in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if "Tapeline" in line]
    assert f"cannot record to {data}" in line
    assert "tapeline_data" in line
