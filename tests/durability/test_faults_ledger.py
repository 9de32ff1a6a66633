"""The ledger: what a recorder could not write is counted once, whenever it is killed and whatever is repeated."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal_writer import JournalWriter
from tapeline.addons.tapeline_recorder.loss_ledger import (
    MAX_REASON_CHARACTERS,
    MAX_REASONS,
    OTHER_REASONS,
    Ledger,
    Loss,
    LossCount,
    read_ledger,
)
from tapeline.pipeline.sealing import seal as sealing
from tapeline.pipeline.sealing.journal import open_journal_for_sealing
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse import database
from tests.support.journals.journals import MadeUp, recording, write_exchanges
from tests.support.machine.disks import FaultyFiles
from tests.support.places import ROOT
from tests.support.processes.dying import EXCHANGES
from tests.support.processes.recorder import tapeline_here

pytestmark = pytest.mark.slow

FULL = Loss(1_795_255_200_000_000, "journal: database or disk is full", 3, 1000)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path / "r.losses", "run")
    made.open()
    return made


def test_the_note_on_the_last_commit_counts(ledger: Ledger) -> None:
    ledger.note(7, [FULL])
    assert read_ledger(ledger.path, 7) == ("run", [FULL])
    assert read_ledger(ledger.path, 8) is None
    ledger.note(8, [FULL._replace(exchanges=1)])
    assert read_ledger(ledger.path, 7) == ("run", [FULL])
    assert read_ledger(ledger.path, 8) == ("run", [FULL._replace(exchanges=1)])
    assert read_ledger(ledger.path, None) == ("run", [FULL._replace(exchanges=1)])
    ledger.close()


def test_a_note_that_is_written_again_counts_alone(ledger: Ledger) -> None:
    ledger.note(7, [FULL, FULL._replace(reason="another")])
    ledger.note(7, [FULL])
    assert read_ledger(ledger.path, 7) == ("run", [FULL])
    ledger.clear()
    assert read_ledger(ledger.path, 7) is None
    ledger.close()


def test_a_note_that_is_half_written_does_not_count(ledger: Ledger) -> None:
    ledger.note(7, [FULL])
    ledger.close()
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b"disk is full", b"disk is ...."))
    assert read_ledger(ledger.path, 7) is None


def test_as_much_as_can_be_counted_can_be_noted(ledger: Ledger) -> None:
    count = LossCount()
    for number in range(1000):
        count.add(Loss(number, f"{number}" + "\n" * 1000, 1, 2))
    assert len(count.all()) == MAX_REASONS
    assert sum(loss.exchanges for loss in count.all()) == 1000
    assert count.all()[-1] == Loss(999, OTHER_REASONS, 1000 - MAX_REASONS + 1, 2 * (1000 - MAX_REASONS + 1))
    assert max(len(loss.reason) for loss in count.all()) == MAX_REASON_CHARACTERS
    ledger.note(1, count.all())
    ledger.note(2, count.take())
    for commit in (1, 2):
        notes = read_ledger(ledger.path, commit)
        assert notes is not None
        assert sum(loss.exchanges for loss in notes.losses) == 1000
    assert not count
    ledger.close()


def found(directory: DataDirectory) -> tuple[int, int]:
    """Whole exchanges, and lost ones, of the dataset."""
    database.load(directory)
    with database.querying(directory) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM exchanges WHERE outcome = 'complete'), "
            "(SELECT coalesce(sum(exchanges), 0) FROM losses)"
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("step", ["commit", "note"])
def test_a_kill_on_the_way_back_neither_doubles_nor_drops(data: Path, step: str, count: int, when: str) -> None:
    command = [sys.executable, "-m", "tests.support.processes.dying", str(data), step, str(count), when]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == -signal.SIGKILL
    directory = DataDirectory(data)
    seal(directory)
    whole, lost = found(directory)
    assert lost > 0
    assert whole + lost == EXCHANGES
    seal(directory)
    assert found(directory) == (whole, lost)
    assert list(directory.journals.iterdir()) == []


def test_a_disk_that_stays_full_leaves_its_count_beside_the_journal(data: Path) -> None:
    directory = DataDirectory(data)
    files = FaultyFiles(directory, {"recorder_id": "r", "run": "run-1"})
    writer = JournalWriter(files)
    write_exchanges(writer, [MadeUp(content=str(number)) for number in range(4)])
    assert not writer.close(seconds=0.2)
    assert "NOT RECORDED: 4" in tapeline_here("report", "usage", "--data", data).stdout
    assert "4 exchanges not recorded" in tapeline_here("doctor", "--data", data).stdout
    assert found(directory) == (0, 4)
    assert list(directory.journals.iterdir()) == []


@pytest.mark.parametrize("step", ["write_batch", "remove_journal"])
def test_sealing_a_ledger_that_is_stopped_and_repeated_counts_once(
    data: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = DataDirectory(data)
    with recording(data, "r", "run-1") as writer:
        write_exchanges(writer, [MadeUp()])
    ledger = Ledger(directory.ledger("r"), "run-1")
    ledger.open()
    ledger.note(last_commit_of(directory), [FULL])
    ledger.close()
    original = getattr(sealing, step)

    def stop(*arguments: object) -> object:
        if step == "write_batch" and arguments[2] != "r-000000":
            return original(*arguments)
        if step == "write_batch":
            original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sealing, step, stop)
        with pytest.raises(KeyboardInterrupt):
            seal(directory)
    database.load(directory)
    assert seal(directory).losses == 3
    assert found(directory) == (1, 3)


def last_commit_of(directory: DataDirectory) -> int:
    journal = open_journal_for_sealing(directory.journal("r"))
    journal.close()
    return journal.last_commit


def test_a_ledger_without_its_journal_counts(data: Path) -> None:
    directory = DataDirectory(data)
    directory.create()
    ledger = Ledger(directory.ledger("r"), "run-1")
    ledger.open()
    ledger.note(3, [FULL])
    ledger.close()
    assert seal(directory).losses == 3
    assert found(directory) == (0, 3)
    assert list(directory.journals.iterdir()) == []
