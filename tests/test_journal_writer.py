"""The journal's writer: never in the way, nothing lost while the disk takes it, and a count where it does not."""

from __future__ import annotations

import sqlite3
import stat
import time
from pathlib import Path

import pytest

from tapeline.addons import tapeline_journal
from tapeline.addons.tapeline_journal import JournalWriter, Lock, create_journal, is_locked, open_journal

ABOUT = {"recorder_id": "r", "run": "run"}
HEAD = {"exchange_id": "e"}


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = open_journal(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def eventually(path: Path, sql: str, expected: list[tuple[object, ...]]) -> None:
    deadline = time.monotonic() + 20
    while rows(path, sql) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert rows(path, sql) == expected


def test_what_is_added_is_written_without_being_asked(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    writer = JournalWriter(create_journal(path, ABOUT))
    writer.add("head", 1, HEAD)
    writer.add("response", 1, (10, b"data: a"))
    writer.add("response", 1, (20, b"\n\n"))
    eventually(path, "SELECT chunks, data FROM piece", [("[[10,7],[20,2]]", b"data: a\n\n")])
    writer.add("ending", 1, {"how": "response"})
    assert writer.close()
    assert rows(path, "SELECT exchange_id, ending FROM exchange") == [("e", '{"how":"response"}')]


def test_an_ending_in_the_same_batch_as_its_head_finds_it(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    writer = JournalWriter(create_journal(path, ABOUT))
    for number in range(1, 500):
        writer.add("head", number, {"exchange_id": str(number)})
        writer.add("ending", number, {})
    assert writer.close()
    assert rows(path, "SELECT count(*) FROM exchange WHERE ending IS NOT NULL") == [(499,)]


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    writer = JournalWriter(create_journal(path, ABOUT))
    writer.add("head", 1, HEAD)
    eventually(path, "SELECT count(*) FROM exchange", [(1,)])
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert set(modes) >= {"j.sqlite", "j.sqlite-wal"}
    assert set(modes.values()) == {0o600}
    writer.close()


class FaultyDisk(sqlite3.Connection):
    """A connection whose transactions fail while the disk is full."""

    full = True

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if self.full and sql.startswith("BEGIN"):
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *parameters)  # type: ignore[arg-type]


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    create_journal(tmp_path / "j.sqlite", ABOUT).close()
    monkeypatch.setattr(tapeline_journal, "FLUSH_SECONDS", 0.01)
    connection = sqlite3.connect(
        tmp_path / "j.sqlite", isolation_level=None, check_same_thread=False, factory=FaultyDisk
    )
    assert isinstance(connection, FaultyDisk)
    return connection


def test_what_a_full_disk_does_not_take_is_written_when_it_does(
    tmp_path: Path, faulty: FaultyDisk, caplog: pytest.LogCaptureFixture
) -> None:
    writer = JournalWriter(faulty)
    for number in range(1, 6):
        writer.add("head", number, {"exchange_id": str(number)})
        time.sleep(0.03)
    faulty.full = False
    eventually(tmp_path / "j.sqlite", "SELECT count(*) FROM exchange", [(5,)])
    assert writer.close()
    assert rows(tmp_path / "j.sqlite", "SELECT count(*) FROM loss") == [(0,)]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_what_does_not_fit_in_memory_is_given_up_whole_and_counted(tmp_path: Path, faulty: FaultyDisk) -> None:
    writer = JournalWriter(faulty, max_pending_bytes=10_000)
    writer.add("head", 1, HEAD)
    writer.add("response", 1, (1, bytes(20_000)))
    deadline = time.monotonic() + 20
    while not writer._losses and time.monotonic() < deadline:
        time.sleep(0.01)
    faulty.full = False
    writer.add("response", 1, (2, b"later"))
    writer.add("ending", 1, {})
    writer.add("head", 2, {"exchange_id": "after"})
    assert writer.close()
    assert rows(tmp_path / "j.sqlite", "SELECT exchange_id FROM exchange") == [("after",)]
    assert rows(tmp_path / "j.sqlite", "SELECT count(*) FROM piece") == [(0,)]
    assert rows(tmp_path / "j.sqlite", "SELECT exchanges, reason FROM loss") == [
        (1, "journal: database or disk is full")
    ]


def test_a_lock_is_held_until_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = Lock(path)
    assert not is_locked(path)
    assert lock.take()
    assert is_locked(path)
    assert not Lock(path).take()
    lock.release()
    assert not is_locked(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_disk_that_never_takes_it_is_said_at_the_end(faulty: FaultyDisk, caplog: pytest.LogCaptureFixture) -> None:
    writer = JournalWriter(faulty)
    writer.add("head", 1, HEAD)
    assert not writer.close(seconds=0.3)
    assert "could not write 1 exchanges" in caplog.text
