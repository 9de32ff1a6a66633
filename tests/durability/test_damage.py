"""Damaged journals: what can be read is saved, the rest is counted, and the file is kept as it was."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import open_journal
from tapeline.pipeline.sealing import follow
from tapeline.pipeline.sealing.recovery import NOT_WHOLE
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse import database
from tests.support.journals.journals import MadeUp, make_journal, recording, wait_until_written, write_exchanges
from tests.support.processes.following import following
from tests.support.processes.recorder import tapeline
from tests.torture.dying import Place, die_at

pytestmark = pytest.mark.slow

EXCHANGES = 30
PAGE_BYTES = 4096
# The second page holds what the journal says of itself.
ABOUT_PAGE = 1
JOURNAL = "journal/recorder-1.sqlite"
LOG = f"{JOURNAL}-wal"
LOG_HEADER_BYTES = 32

Rows = dict[str, tuple[Any, ...]]
Killed = dict[str, Path]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """What a killed recorder leaves: `log` has all in the write-ahead log, `file` in the database file itself."""
    folder = tmp_path_factory.mktemp("recorder")
    # Of all sizes, so that there are pages of every sort.
    exchanges = [MadeUp(content=f"question {number}", text="answer " * number * 40) for number in range(EXCHANGES)]
    with recording(folder / "alive") as writer:
        write_exchanges(writer, exchanges)
        writer.count_loss("journal: disk is full", 3, 1000)
        wait_until_written(folder / "alive", EXCHANGES, losses=1)
        shutil.copytree(folder / "alive", folder / "log")
        with closing(open_journal(folder / "alive" / JOURNAL)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copytree(folder / "alive", folder / "file")
    shutil.copytree(folder / "log", folder / "sound")
    return {name: folder / name for name in ("log", "file", "sound")}


@pytest.fixture(scope="module")
def expected(killed: Killed) -> Rows:
    """The rows of the undamaged journal."""
    directory = DataDirectory(killed["sound"])
    seal(directory)
    return loaded(directory)


def loaded(directory: DataDirectory) -> Rows:
    """The rows of exchanges by their id, which none shares with another."""
    rows = query(directory, "SELECT * FROM stored.exchanges")
    by_id = {row[0]: row for row in rows}
    assert len(by_id) == len(rows)
    return by_id


def query(directory: DataDirectory, sql: str) -> list[tuple[Any, ...]]:
    assert database.load(directory).problems == ()
    with database.querying(directory) as connection:
        return connection.execute(sql).fetchall()


def check(directory: DataDirectory, expected: Rows) -> tuple[int, int]:
    """Hold what came out of a damaged journal against the undamaged one.

    Gives the number of exchanges that are whole, and of those that are counted as missing or not whole.
    """
    rows = loaded(directory)
    not_whole = query(directory, f"SELECT exchange_id FROM exchanges WHERE outcome_detail = '{NOT_WHOLE}'")
    assert {exchange_id for (exchange_id,) in not_whole} <= expected.keys()
    whole = {exchange_id: row for exchange_id, row in rows.items() if (exchange_id,) not in not_whole}
    assert whole == {exchange_id: expected[exchange_id] for exchange_id in whole}
    ((missing,),) = query(directory, "SELECT exchanges FROM losses WHERE loss_id = 'recorder-1-journal'")
    return len(whole), missing


def damage(killed: Path, data: Path, name: str, change: Callable[[bytes], bytes]) -> DataDirectory:
    """A copy of what a killed recorder left, with one of its files changed."""
    shutil.copytree(killed, data)
    (data / name).write_bytes(change((data / name).read_bytes()))
    return DataDirectory(data)


def garbled(start: int, size: int, seed: int = 1) -> Callable[[bytes], bytes]:
    """Garbage in the middle."""
    return lambda data: data[:start] + Random(seed).randbytes(size) + data[start + size :]


@pytest.mark.slow
def test_garbage_in_any_page_costs_what_stood_there(killed: Killed, data: Path, expected: Rows) -> None:
    pages = (killed["file"] / JOURNAL).stat().st_size // PAGE_BYTES
    whole = []
    for page in set(range(pages)) - {ABOUT_PAGE}:
        root = data / str(page)
        directory = damage(killed["file"], root, JOURNAL, garbled(page * PAGE_BYTES, PAGE_BYTES, seed=page))
        damaged = (root / JOURNAL).read_bytes()
        (problem,) = seal(directory).problems
        assert "was damaged" in problem
        found, missing = check(directory, expected)
        # Without the first page nothing can be read, and nothing says how much is missing.
        assert (found, missing) == (0, 1) if page == 0 else EXCHANGES <= found + missing <= EXCHANGES + 1
        whole.append(found)
        assert (root / f"{JOURNAL}.corrupt").read_bytes() == damaged
        assert not (root / JOURNAL).exists()
        shutil.rmtree(root)
    # Only the first page and those at the top of a tree hold all; most are a part of one body.
    assert whole.count(0) < 5
    assert sorted(whole)[len(whole) // 2] >= EXCHANGES - 3


def test_no_text_is_kept_where_nothing_tells_whether_it_may_be(killed: Killed, data: Path, expected: Rows) -> None:
    directory = damage(killed["file"], data, JOURNAL, garbled(ABOUT_PAGE * PAGE_BYTES, PAGE_BYTES))
    (problem,) = seal(directory).problems
    assert "no text was kept" in problem
    assert loaded(directory).keys() == expected.keys()
    assert query(directory, "SELECT DISTINCT text, json FROM content") == [(None, None)]
    assert query(directory, "SELECT DISTINCT choices[1].content FROM exchanges") == [(None,)]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_journal_that_was_cut_off_is_read_as_far_as_it_goes(
    share: float, killed: Killed, data: Path, expected: Rows
) -> None:
    directory = damage(killed["file"], data, JOURNAL, lambda whole: whole[: int(len(whole) * share)])
    assert "was damaged" in seal(directory).problems[0]
    found, missing = check(directory, expected)
    assert missing > 0
    assert found > 0 or share < 0.5


@pytest.mark.parametrize(
    "change",
    [lambda log: b"", lambda log: log[: len(log) // 2], lambda log: garbled(len(log) // 2, 100)(log)],
    ids=["empty", "cut off", "garbled"],
)
def test_a_write_ahead_log_that_lost_its_end_is_noticed(
    change: Callable[[bytes], bytes], killed: Killed, data: Path, expected: Rows
) -> None:
    directory = damage(killed["log"], data, LOG, change)
    (problem,) = seal(directory).problems
    assert "the end of its write-ahead log is missing" in problem
    found, missing = check(directory, expected)
    assert found < EXCHANGES
    assert missing > 0


def test_looking_for_a_full_batch_takes_no_sign_of_damage_away(
    killed: Killed, data: Path, expected: Rows, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(follow, "FOLLOW_SECONDS", 0.01)
    directory = damage(killed["log"], data, LOG, lambda log: log[: len(log) // 2])
    with following(directory, monkeypatch):
        time.sleep(0.3)
    assert "the end of its write-ahead log is missing" in capsys.readouterr().err
    assert check(directory, expected)[1] > 0


def test_a_byte_that_changed_within_a_body_is_noticed(killed: Killed, data: Path, expected: Rows) -> None:
    directory = damage(
        killed["file"], data, JOURNAL, lambda whole: whole.replace(b"answer answer", b"answer answeR", 1)
    )
    assert "checksum" in seal(directory).problems[0]
    assert check(directory, expected) == (EXCHANGES - 1, 1)


def test_a_row_that_is_no_json_is_left_out(killed: Killed, data: Path, expected: Rows) -> None:
    directory = damage(
        killed["file"], data, JOURNAL, lambda whole: whole.replace(b'{"how":"response"', b'{"how":"response?', 1)
    )
    assert "a row cannot be read" in seal(directory).problems[0]
    assert check(directory, expected) == (EXCHANGES - 1, 1)


def test_a_journal_that_came_back_from_an_older_copy_doubles_and_replaces_nothing(data: Path) -> None:
    directory = DataDirectory(data)
    with recording(data) as writer:
        write_exchanges(writer, [MadeUp(content=str(number)) for number in range(3)])
        wait_until_written(data, 3)
        shutil.copytree(data, data.with_name("copy"))
        seal(directory)
        write_exchanges(writer, [MadeUp(content="later")], first_number=4)
        wait_until_written(data, 1)
        seal(directory)
    rows = loaded(directory)
    assert len(rows) == 4
    shutil.copytree(data.with_name("copy") / "journal", data / "journal", dirs_exist_ok=True)
    assert "older than what was sealed from it" in seal(directory).problems[0]
    directory.warehouse.unlink()
    assert loaded(directory) == rows


SALVAGING = [
    Place("tapeline.pipeline.sealing.recovery", "damage_of", "after"),
    *(Place("tapeline.pipeline.sealing.batch", "write_batch", "after", calls) for calls in range(1, 7)),
    *(Place("pathlib:Path", "replace", "after", calls) for calls in range(1, 8)),
    Place("tapeline.pipeline.sealing.recovery", "move_aside", "after"),
]


@pytest.mark.slow
@pytest.mark.parametrize("place", SALVAGING, ids=str)
def test_a_kill_at_any_step_of_salvaging_changes_nothing_of_what_comes_out(
    place: Place, killed: Killed, data: Path
) -> None:
    garble = garbled((killed["file"] / JOURNAL).stat().st_size // 2 // PAGE_BYTES * PAGE_BYTES, PAGE_BYTES)
    undisturbed = damage(killed["file"], data.with_name("undisturbed"), JOURNAL, garble)
    seal(undisturbed)
    directory = damage(killed["file"], data, JOURNAL, garble)
    die_at(place, "seal", "--data", data)
    database.load(directory)
    seal(directory)
    assert loaded(directory) == loaded(undisturbed)
    losses = "SELECT loss_id, run, reason, exchanges FROM losses ORDER BY loss_id"
    assert query(directory, losses) == query(undisturbed, losses)
    assert files(directory) == files(undisturbed)


def files(directory: DataDirectory) -> list[str]:
    return sorted(path.relative_to(directory.root).as_posix() for path in directory.root.rglob("*"))


def test_a_journal_of_another_version_is_named_and_kept_and_the_others_are_sealed(data: Path) -> None:
    directory = DataDirectory(data)
    make_journal(data, [MadeUp(content="old")], recorder_id="recorder-0")
    make_journal(data, [MadeUp(content="new")], recorder_id="recorder-1")
    old = directory.journal("recorder-0")
    with closing(open_journal(old)) as connection:
        connection.execute("UPDATE about SET value = '0' WHERE name = 'version'")
        connection.execute("DROP TABLE written_content")
    for exchanges in (1, 0):
        sealed = seal(directory)
        assert sealed.exchanges == exchanges
        assert [str(old) in problem and "version 0" in problem for problem in sealed.problems] == [True]
    assert old.exists()


def test_a_file_that_is_no_journal_is_named_and_left_alone(data: Path) -> None:
    directory = DataDirectory(data)
    make_journal(data, [MadeUp()])
    foreign = directory.journal("foreign")
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE diary (entry TEXT)")
    sealed = seal(directory)
    assert sealed.exchanges == 1
    assert [str(foreign) in problem for problem in sealed.problems] == [True]
    assert foreign.exists()


@pytest.mark.slow
def test_a_damaged_journal_is_said_on_the_command_line_and_counted_in_every_report(killed: Killed, data: Path) -> None:
    damage(killed["file"], data, JOURNAL, lambda whole: b"not a database" * 1000)
    make_journal(data, [MadeUp()], recorder_id="recorder-2")
    result = tapeline("report", "usage", "--data", data)
    assert result.returncode == 0
    assert "was damaged (file is not a database)" in result.stderr
    assert "NOT RECORDED: 1" in result.stdout
    assert "NOT RECORDED: 1" in tapeline("report", "usage", "--data", data).stdout


def test_the_journal_of_a_running_recorder_is_left_to_it(data: Path) -> None:
    directory = DataDirectory(data)
    with recording(data) as writer:
        write_exchanges(writer, [MadeUp()])
        wait_until_written(data, 1)
        with closing(open_journal(directory.journal("recorder-1"))) as connection:
            connection.execute("UPDATE piece SET data = x'00'")
        assert "is tried again" in seal(directory).problems[0]
        assert directory.journal("recorder-1").exists()
    assert "was damaged" in seal(directory).problems[0]


def test_what_lies_beside_no_journal_goes_when_it_is_old(data: Path) -> None:
    directory = DataDirectory(data)
    directory.create()
    left = [directory.journals / f"gone.{end}" for end in ("lock", "lock-journal", "new", "sqlite-wal", "damage")]
    for path in left:
        path.touch()
    seal(directory)
    assert all(path.exists() for path in left)
    long_ago = time.time() - 2 * 3600
    for path in left:
        os.utime(path, (long_ago, long_ago))
    seal(directory)
    assert not any(path.exists() for path in left)


def test_unfinished_files_of_the_dataset_go_when_a_journal_is_sealed(data: Path) -> None:
    directory = DataDirectory(data)
    make_journal(data, [MadeUp()])
    unfinished = directory.dataset("exchanges") / "date=2026-11-21" / ".recorder-0-000001.parquet.tmp"
    unfinished.parent.mkdir(parents=True)
    unfinished.touch()
    seal(directory)
    assert not unfinished.exists()
    assert len(loaded(directory)) == 1
