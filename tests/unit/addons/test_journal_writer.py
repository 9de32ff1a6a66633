"""The journal's writer: never in the way, nothing lost while the disk takes it, and a count where it does not."""

from __future__ import annotations

import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machine.disks import FaultyFiles

from tapeline.addons.tapeline_recorder import journal_writer
from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import Lock, is_locked, open_journal
from tapeline.addons.tapeline_recorder.journal_writer import JournalWriter
from tapeline.addons.tapeline_recorder.recorder_files import RecorderFiles

ABOUT = {"recorder_id": "r", "run": "run"}
HEAD = {"exchange_id": "e"}


@pytest.fixture
def directory(data: Path) -> DataDirectory:
    return DataDirectory(data)


@pytest.fixture
def path(directory: DataDirectory) -> Path:
    return directory.journal("r")


@pytest.fixture
def writer(directory: DataDirectory) -> JournalWriter:
    return JournalWriter(RecorderFiles(directory, ABOUT))


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


def test_what_is_added_is_written_without_being_asked(path: Path, writer: JournalWriter) -> None:
    writer.add("head", 1, HEAD)
    writer.add("response", 1, (10, b"data: a"))
    writer.add("response", 1, (20, b"\n\n"))
    eventually(path, "SELECT chunks, data FROM piece", [("[[10,7],[20,2]]", b"data: a\n\n")])
    writer.add("ending", 1, {"how": "response"})
    assert writer.close()
    assert rows(path, "SELECT exchange_id, ending FROM exchange") == [("e", '{"how":"response"}')]


def test_an_ending_in_the_same_batch_as_its_head_finds_it(path: Path, writer: JournalWriter) -> None:
    for number in range(1, 500):
        writer.add("head", number, {"exchange_id": str(number)})
        writer.add("ending", number, {})
    assert writer.close()
    assert rows(path, "SELECT count(*) FROM exchange WHERE ending IS NOT NULL") == [(499,)]


def test_a_body_of_many_batches_comes_whole_and_in_order(
    path: Path, writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_writer, "BATCH_BYTES", 3_000)
    chunks = [bytes([number]) * 100 for number in range(200)]
    writer.add("head", 1, HEAD)
    for at_us, chunk in enumerate(chunks):
        writer.add("response", 1, (at_us, chunk))
    writer.add("ending", 1, {})
    assert writer.close()
    pieces = rows(path, "SELECT data FROM piece ORDER BY id")
    assert len(pieces) > 1
    assert b"".join(data for (data,) in pieces if isinstance(data, bytes)) == b"".join(chunks)


def test_files_are_private_whatever_the_umask(path: Path, writer: JournalWriter) -> None:
    writer.add("head", 1, HEAD)
    eventually(path, "SELECT count(*) FROM exchange", [(1,)])
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes) >= {"r.sqlite", "r.sqlite-wal", "r.lock", "r.losses"}
    assert set(modes.values()) == {0o600}
    writer.close()


def test_an_entry_that_no_disk_takes_costs_its_own_exchange_alone(path: Path, writer: JournalWriter) -> None:
    writer.add("head", 1, {"exchange_id": "before"})
    writer.add("head", 2, {"exchange_id": object()})
    writer.add("ending", 2, {})
    writer.add("head", 3, {"exchange_id": "after"})
    assert writer.close()
    assert rows(path, "SELECT exchange_id FROM exchange ORDER BY number") == [("before",), ("after",)]
    ((exchanges, reason),) = rows(path, "SELECT exchanges, reason FROM loss")
    assert exchanges == 1
    assert str(reason).startswith("journal: ")


def test_a_fault_that_goes_on_is_one_row(path: Path, writer: JournalWriter) -> None:
    for _ in range(3):
        writer.count_loss("over a limit", 1, 10)
        writer.count_loss("over a limit", 0, 5)
        time.sleep(0.1)
    assert writer.close()
    assert rows(path, "SELECT reason, exchanges, bytes FROM loss") == [("over a limit", 3, 45)]
    assert writer.lost == 3


@pytest.fixture
def faulty(directory: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyFiles]:
    """The files of a recorder whose disk is full until the test gives it room."""
    monkeypatch.setattr(journal_writer, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(journal_writer, "RETRY_SECONDS", 0.05)
    files = FaultyFiles(directory, ABOUT)
    yield files
    files.disk.full = False


def test_what_a_full_disk_does_not_take_is_written_when_it_does(
    path: Path, faulty: FaultyFiles, caplog: pytest.LogCaptureFixture
) -> None:
    writer = JournalWriter(faulty)
    for number in range(1, 6):
        writer.add("head", number, {"exchange_id": str(number)})
        faulty.disk.wait_until_asked()
    faulty.disk.full = False
    eventually(path, "SELECT count(*) FROM exchange", [(5,)])
    assert writer.close()
    assert rows(path, "SELECT count(*) FROM loss") == [(0,)]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_memory_is_bounded_while_a_single_write_hangs(path: Path, faulty: FaultyFiles) -> None:
    faulty.disk.full = False
    faulty.disk.hangs.set()
    writer = JournalWriter(faulty, max_pending_bytes=100_000)
    writer.add("head", 1, HEAD)
    faulty.disk.wait_until_asked()
    for number in range(2, 1000):
        writer.add("head", number, {"exchange_id": str(number)})
        writer.add("response", number, (1, bytes(1000)))
        writer.add("ending", number, {})
    assert writer.lost > 900
    faulty.disk.hangs.clear()
    assert writer.close()
    ((kept, ended),) = rows(path, "SELECT count(*), count(ending) FROM exchange")
    assert kept == 1000 - writer.lost - 1
    assert ended == kept - 1
    assert rows(path, "SELECT sum(exchanges) FROM loss") == [(writer.lost,)]
    assert rows(path, "SELECT DISTINCT length(data) FROM piece") == [(1000,)]


def test_an_exchange_of_which_the_journal_has_the_start_is_ended_there(path: Path, faulty: FaultyFiles) -> None:
    faulty.disk.full = False
    writer = JournalWriter(faulty, max_pending_bytes=10_000)
    writer.add("head", 1, HEAD)
    writer.add("response", 1, (1, b"first"))
    eventually(path, "SELECT data FROM piece", [(b"first",)])
    faulty.disk.full = True
    writer.add("response", 1, (2, b"second"))
    faulty.disk.wait_until_asked()
    writer.add("response", 1, (3, bytes(20_000)))
    writer.add("response", 1, (4, b"last"))
    writer.add("ending", 1, {"how": "response"})
    faulty.disk.full = False
    assert writer.close()
    assert rows(path, "SELECT data FROM piece") == [(b"first",)]
    assert rows(path, "SELECT ending FROM exchange") == [
        ('{"how":"stopped","error":"journal: database or disk is full"}',)
    ]
    assert rows(path, "SELECT sum(exchanges), sum(bytes) FROM loss") == [(1, 20_010)]


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


def test_a_disk_that_never_takes_it_is_said_at_the_end(
    directory: DataDirectory, faulty: FaultyFiles, caplog: pytest.LogCaptureFixture
) -> None:
    writer = JournalWriter(faulty)
    writer.add("head", 1, HEAD)
    assert not writer.close(seconds=0.3)
    assert "could not write 1 exchanges" in caplog.text
    assert not is_locked(directory.recorder_lock("r"))


def test_a_writer_that_hangs_at_the_end_keeps_its_lock(directory: DataDirectory, faulty: FaultyFiles) -> None:
    faulty.disk.full = False
    faulty.disk.hangs.set()
    writer = JournalWriter(faulty)
    writer.add("head", 1, HEAD)
    faulty.disk.wait_until_asked()
    assert not writer.close(seconds=0.2)
    assert is_locked(directory.recorder_lock("r"))
    faulty.disk.hangs.clear()
    writer._thread.join(20)
    assert not is_locked(directory.recorder_lock("r"))
    assert rows(directory.journal("r"), "SELECT count(*) FROM exchange") == [(1,)]


def test_errors_of_the_disk_are_told_from_those_of_an_entry() -> None:
    assert journal_writer._is_of_the_disk(sqlite3.OperationalError("disk I/O error"))
    assert not journal_writer._is_of_the_disk(sqlite3.IntegrityError("UNIQUE constraint failed"))
