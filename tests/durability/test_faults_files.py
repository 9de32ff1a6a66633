"""Files of a running recorder that somebody removes, replaces or breaks: recording goes on, and what was in them."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tapeline.addons.tapeline_recorder import journal_writer
from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import is_locked
from tapeline.addons.tapeline_recorder.journal_writer import JournalWriter
from tapeline.addons.tapeline_recorder.recorder_files import RecorderFiles
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse import database
from tests.support.journals.journals import MadeUp, write_exchanges

pytestmark = pytest.mark.slow

WAIT_SECONDS = 20.0
#: What somebody may remove, each with the journal's folder given.
REMOVALS: dict[str, Callable[[Path], object]] = {
    "everything": lambda journals: shutil.rmtree(journals.parent),
    "the folder": shutil.rmtree,
    "the journal alone": lambda journals: (journals / "r.sqlite").unlink(),
    "the journal's log": lambda journals: (journals / "r.sqlite-wal").unlink(),
    "the lock": lambda journals: (journals / "r.lock").unlink(),
    "the ledger": lambda journals: (journals / "r.losses").unlink(),
}


@pytest.fixture
def directory(data: Path) -> DataDirectory:
    return DataDirectory(data)


@pytest.fixture
def writer(directory: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> JournalWriter:
    monkeypatch.setattr(journal_writer, "RETRY_SECONDS", 0.05)
    return JournalWriter(RecorderFiles(directory, {"recorder_id": "r", "run": "run-1"}))


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def texts(directory: DataDirectory) -> list[str]:
    database.load(directory)
    with database.querying(directory) as connection:
        rows = connection.execute("SELECT choices[1].content FROM exchanges ORDER BY ALL").fetchall()
    return [row[0] for row in rows]


def losses(directory: DataDirectory) -> list[tuple[str, int]]:
    with database.querying(directory) as connection:
        return connection.execute("SELECT reason, exchanges FROM losses ORDER BY ALL").fetchall()


@pytest.mark.parametrize("what", REMOVALS)
def test_what_is_removed_is_made_again_and_nothing_is_lost(
    what: str, directory: DataDirectory, writer: JournalWriter, caplog: pytest.LogCaptureFixture
) -> None:
    write_exchanges(writer, [MadeUp(text="before"), MadeUp(text="open", ended=False)])
    wait_until(lambda: not writer._buffer, "the journal was not written")
    REMOVALS[what](directory.journals)
    wait_until(lambda: "made again" in caplog.text, "nobody noticed")
    assert is_locked(directory.recorder_lock("r"))
    assert seal(directory).exchanges == 1
    writer.add("ending", 2, {"how": "response", "ended_us": 300_000})
    write_exchanges(writer, [MadeUp(text="after")], first_number=3)
    assert writer.close()
    seal(directory)
    assert texts(directory) == ["after", "before", "open"]
    assert losses(directory) == []
    assert list(directory.journals.iterdir()) == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_what_was_sealed_before_the_removal_is_not_sealed_twice(
    directory: DataDirectory, writer: JournalWriter, caplog: pytest.LogCaptureFixture
) -> None:
    write_exchanges(writer, [MadeUp(text="sealed")])
    wait_until(lambda: not writer._buffer, "the journal was not written")
    assert seal(directory).exchanges == 1
    shutil.rmtree(directory.journals)
    wait_until(lambda: "made again" in caplog.text, "nobody noticed")
    write_exchanges(writer, [MadeUp(text="later")], first_number=2)
    assert writer.close()
    assert seal(directory).exchanges == 1
    assert texts(directory) == ["later", "sealed"]


def test_a_folder_that_cannot_be_made_again_at_once(
    directory: DataDirectory, writer: JournalWriter, caplog: pytest.LogCaptureFixture
) -> None:
    write_exchanges(writer, [MadeUp(text="before")])
    wait_until(lambda: not writer._buffer, "the journal was not written")
    shutil.rmtree(directory.journals)
    directory.journals.write_text("in the way")
    wait_until(lambda: "cannot write its journal" in caplog.text, "nobody noticed")
    write_exchanges(writer, [MadeUp(text="meanwhile")], first_number=2)
    directory.journals.unlink()
    wait_until(lambda: "writes its journal again" in caplog.text, "recording was not resumed")
    assert writer.close()
    seal(directory)
    assert texts(directory) == ["before", "meanwhile"]


@pytest.mark.parametrize("how", ["overwritten", "replaced"])
def test_a_journal_that_is_beyond_use_is_left_and_recording_goes_on_beside_it(
    how: str, directory: DataDirectory, writer: JournalWriter, caplog: pytest.LogCaptureFixture
) -> None:
    write_exchanges(writer, [MadeUp(text="before"), MadeUp(text="open", ended=False)])
    wait_until(lambda: not writer._buffer, "the journal was not written")
    journal = directory.journal("r")
    if how == "overwritten":
        for path in (journal, journal.with_name("r.sqlite-wal"), journal.with_name("r.sqlite-shm")):
            # SQLite maps the last one into memory, and less than its 32 KiB would end the process.
            path.write_bytes(b"no database" * 3000)
    else:
        journal.unlink()
        journal.write_bytes(b"somebody else's")
    write_exchanges(writer, [MadeUp(text="after")], first_number=3)
    writer.add("ending", 2, {"how": "response", "ended_us": 300_000})
    wait_until(lambda: "in a new one" in caplog.text, "nobody noticed")
    assert directory.recorder_ids() == ["r", "r-2"]
    assert writer.close()
    problems = seal(directory).problems
    assert [str(journal) in problem for problem in problems] == [True]
    assert journal.with_name("r.sqlite.corrupt").exists()
    assert texts(directory) == ["after"]
    # The one that was open is counted by the recorder, the one that had ended when its journal was found.
    assert [exchanges for _, exchanges in losses(directory)] == [1, 1]
    assert all(reason.startswith("journal: ") for reason, _ in losses(directory))
    assert writer.lost == 1
