"""A real disk that is full, or may not be written: traffic goes on, and all of it is recorded or counted."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import last_commit, open_journal
from tapeline.addons.tapeline_recorder.loss_ledger import read_ledger
from tests.support.clients.wire import DONE, FINISH, ask, chat, event
from tests.support.journals.journals import MadeUp, make_journal
from tests.support.machine.smalldisk import SmallDisk, small_disk
from tests.support.places import SUPPORT
from tests.support.processes.mitmproxy import RunningMitmproxy
from tests.support.processes.recorder import RunningRecorder, query, query_until, tapeline
from tests.support.servers.scripted import WAIT_SECONDS, Conversation, ScriptedServer

pytestmark = pytest.mark.slow

MITMDUMP = Path(sys.executable).parent / "mitmdump"
SABOTEUR = SUPPORT / "processes" / "saboteur.py"
STREAM = event("All ") + event("of it.") + FINISH + DONE
# A question that a journal on a full disk finds no room for.
LONG = "x" * 50_000
CALLS = 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", "32m") as mounted:
        yield mounted


def answer(conversation: Conversation) -> None:
    conversation.read_body()
    conversation.start()
    conversation.send(STREAM)
    conversation.end()


def ask_often(address: str, first: int, text: str = LONG) -> None:
    """Ask `CALLS` numbered questions; fails where an answer is not what was sent."""
    parts = urlsplit(address)
    with closing(HTTPConnection(str(parts.hostname), parts.port, timeout=WAIT_SECONDS)) as connection:
        for number in range(first, first + CALLS):
            assert ask(connection, chat(f"model-{number}", stream=True, text=text)) == (200, STREAM)


def recorded(data: Path) -> list[int]:
    """The numbers of the questions that are recorded whole."""
    rows = query(data, "SELECT model FROM exchanges WHERE outcome = 'complete'")
    return sorted(int(row["model"].removeprefix("model-")) for row in rows)


def lost(data: Path) -> int:
    (row,) = query(data, "SELECT coalesce(sum(exchanges), 0) AS n FROM losses")
    return int(row["n"])


def wait_until_kept_or_counted(data: Path, exchanges: int) -> None:
    """Wait until the files of the only recorder hold so many exchanges, whole or as a count of losses."""
    directory = DataDirectory(data)
    (recorder_id,) = directory.recorder_ids()
    deadline = time.monotonic() + WAIT_SECONDS
    with closing(open_journal(directory.journal(recorder_id))) as journal:
        while True:
            (kept,) = journal.execute("SELECT count(*) FROM exchange WHERE ending IS NOT NULL").fetchone()
            notes = read_ledger(directory.ledger(recorder_id), last_commit(journal))
            counted = sum(loss.exchanges for loss in notes.losses) if notes is not None else 0
            if kept + counted == exchanges:
                return
            assert time.monotonic() < deadline, (kept, counted)
            time.sleep(0.05)


def test_a_full_disk_costs_no_request_and_recording_is_resumed(disk: SmallDisk) -> None:
    data = disk.root / "recordings"
    with ScriptedServer(answer) as server, RunningRecorder(data, "--upstream", server.url) as recorder:
        ask_often(recorder.address, 0)
        query_until(data, "SELECT 1 FROM exchanges", CALLS)
        disk.fill()
        for round_of_calls in range(1, 6):
            ask_often(recorder.address, round_of_calls * CALLS)
        recorder.wait_until_said("cannot write its journal")
        disk.free()
        recorder.wait_until_said("writes its journal again")
        ask_often(recorder.address, 6 * CALLS)
        assert recorder.stop() == 0
    assert recorder.said.count("cannot write its journal") == 1
    assert "NOT RECORDED" not in recorder.said
    assert recorded(data) == list(range(7 * CALLS))
    assert lost(data) == 0


def test_what_memory_does_not_hold_on_a_full_disk_is_counted(disk: SmallDisk) -> None:
    data = disk.root / "recordings"
    with (
        ScriptedServer(answer) as server,
        RunningMitmproxy(MITMDUMP, server.url, data, scripts=(SABOTEUR,), SABOTEUR_MEMORY=str(2_000_000)) as proxy,
    ):
        ask_often(proxy.address, 0)
        query_until(data, "SELECT 1 FROM exchanges", CALLS)
        disk.fill()
        for round_of_calls in range(1, 6):
            ask_often(proxy.address, round_of_calls * CALLS)
        disk.free()
        proxy.wait_until_said("writes its journal again")
        ask_often(proxy.address, 6 * CALLS)
        assert proxy.stop() == 0
    assert proxy.said.count("cannot write its journal") == 1
    assert proxy.said.count("cannot keep more in memory") == 1
    whole = recorded(data)
    assert set(range(CALLS)) | set(range(6 * CALLS, 7 * CALLS)) <= set(whole)
    assert lost(data) > 0
    assert len(whole) + lost(data) == 7 * CALLS
    assert f"NOT RECORDED: {lost(data)}" in tapeline("report", "usage", "--data", data).stdout
    assert "database or disk is full" in tapeline("doctor", "--data", data).stdout


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_recorder_that_ends_on_a_full_disk_leaves_its_count(disk: SmallDisk, end: str) -> None:
    data = disk.root / "recordings"
    with ScriptedServer(answer) as server, RunningRecorder(data, "--upstream", server.url) as recorder:
        ask_often(recorder.address, 0)
        query_until(data, "SELECT 1 FROM exchanges", CALLS)
        disk.fill()
        for round_of_calls in range(1, 6):
            ask_often(recorder.address, round_of_calls * CALLS)
        recorder.wait_until_said("cannot write its journal")
        if end == "killed":
            wait_until_kept_or_counted(data, 5 * CALLS)
            recorder.process.kill()
            recorder.process.wait()
        else:
            assert recorder.stop() == 0
            assert "NOT RECORDED" in recorder.said
    disk.free()
    whole = recorded(data)
    assert lost(data) > 0
    assert len(whole) + lost(data) == 6 * CALLS
    assert f"NOT RECORDED: {lost(data)}" in tapeline("report", "usage", "--data", data).stdout
    assert lost(data) == 6 * CALLS - len(whole)


def test_what_a_full_disk_does_not_let_be_sealed_stays_and_is_sealed_later_once(disk: SmallDisk) -> None:
    data = disk.root / "recordings"
    make_journal(data, [MadeUp(model=f"model-{number}", content=str(number) * 1000) for number in range(CALLS)])
    disk.fill()
    for _ in range(2):
        result = tapeline("load", "--data", data)
        assert result.returncode in (0, 3)
        assert "Traceback" not in result.stderr
        assert "No space left on device" in result.stderr or "disk is full" in result.stderr
        assert not list(data.rglob("*.parquet"))
    disk.free()
    assert recorded(data) == list(range(CALLS))
    assert recorded(data) == list(range(CALLS))
    assert list((data / "journal").iterdir()) == []
