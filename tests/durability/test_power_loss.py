"""A loss of power at the worst moment: whatever sealing gives up is on the disk by then, under its name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.loss_ledger import Ledger, Loss
from tapeline.pipeline.dataset.schema import DATASETS
from tapeline.pipeline.sealing import journal as journals
from tapeline.pipeline.sealing import recovery
from tapeline.pipeline.sealing import seal as sealing
from tapeline.pipeline.sealing.journal import Journal
from tests.support.journals.journals import DAY_US, NOON_US, MadeUp, make_journal, recording, write_exchanges
from tests.support.machine.powerloss import Disk, watched_disk
from tests.support.processes.recorder import TAPELINE

TWO_DAYS = [MadeUp(content=str(number), started_at_us=NOON_US + number % 2 * DAY_US) for number in range(5)]

Files = dict[Path, bytes]


@contextmanager
def checked_at(
    owner: Any, name: str, directory: DataDirectory, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Files]]:
    """Before each call of a step that gives something up, all of the dataset must be safe; gives what was there."""
    original: Callable[..., Any] = getattr(owner, name)
    seen: list[Files] = []

    def check(*arguments: Any, **options: Any) -> Any:
        safe = {
            path: data for dataset in DATASETS for path, data in disk.safe_files(directory.dataset(dataset)).items()
        }
        assert safe == written(directory)
        seen.append(safe)
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, check)
        yield seen


def written(directory: DataDirectory) -> Files:
    """Every file of the dataset, as this process sees it."""
    return {path: path.read_bytes() for path in directory.root.rglob("*.parquet")}


def test_a_batch_is_on_the_disk_before_the_journal_forgets_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = DataDirectory(data)
    monkeypatch.setattr(journals, "BATCH_EXCHANGES", 3)
    with recording(data) as writer:
        writer.count_loss("journal: disk is full", 3, 1000)
        write_exchanges(writer, TWO_DAYS)
    with (
        watched_disk(data, monkeypatch) as disk,
        checked_at(Journal, "forget", directory, disk, monkeypatch) as forgotten,
    ):
        sealing.seal(directory)
    # Of content and of exchanges a file a day, and the loss; then those of the second batch.
    assert [len(files) for files in forgotten] == [5, 9]


def test_a_count_is_on_the_disk_before_its_ledger_is_removed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = DataDirectory(data)
    directory.create()
    ledger = Ledger(directory.ledger("recorder-1"), "run-1")
    ledger.open()
    ledger.note(0, [Loss(NOON_US, "journal: disk is full", 3, 1000)])
    ledger.close()
    with (
        watched_disk(data, monkeypatch) as disk,
        checked_at(sealing, "remove_journal", directory, disk, monkeypatch) as removed,
    ):
        sealing.seal(directory)
    assert [len(files) for files in removed] == [1]


def test_what_is_saved_is_on_the_disk_before_a_damaged_journal_is_put_aside(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = DataDirectory(data)
    make_journal(data, TWO_DAYS)
    path = directory.journal("recorder-1")
    path.write_bytes(path.read_bytes().replace(b'{"how":"response"', b'{"how":"response?', 1))
    with (
        watched_disk(data, monkeypatch) as disk,
        checked_at(recovery, "move_aside", directory, disk, monkeypatch) as put_aside,
    ):
        assert "was damaged" in sealing.seal(directory).problems[0]
    assert [len(files) for files in put_aside] == [5]


@pytest.mark.slow
def test_a_batch_is_numbered_on_the_disk_before_anything_of_it_is_written(data: Path, tmp_path: Path) -> None:
    """Else a number could come twice, with other members; SQLite's own calls are seen from outside alone."""
    make_journal(data, TWO_DAYS)
    calls = traced_calls(tmp_path / "calls", "seal", "--data", str(data))
    first = next(position for position, call in enumerate(calls) if ".parquet." in call and ".tmp" in call)
    logged = [call for call in calls[:first] if "recorder-1.sqlite-wal" in call]
    assert any("pwrite64(" in call for call in logged)
    assert "fdatasync(" in logged[-1]


def traced_calls(log: Path, *arguments: str) -> list[str]:
    """Run a command to its end; gives its calls that write at a place of a file, or make it safe, in their order."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    traced = "trace=pwrite64,fsync,fdatasync"
    command = [strace, "-f", "-y", "-e", traced, "-o", str(log), *TAPELINE, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    if "PTRACE" in result.stderr:
        pytest.skip(f"strace may not be used: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
    return log.read_text("utf-8", "replace").splitlines()
