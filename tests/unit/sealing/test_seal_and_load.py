"""From the journal to the warehouse: nothing twice, nothing dropped, whatever is repeated, killed or run at once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.journals.journals import DAY_US, NOON_US, MadeUp, make_journal, recording, write_exchanges
from tests.support.processes.following import following
from tests.support.processes.recorder import TAPELINE, clean_environment, tapeline

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal_writer import JournalWriter
from tapeline.pipeline.dataset import files
from tapeline.pipeline.records.captured import CapturedExchange
from tapeline.pipeline.records.record import Record, make_record
from tapeline.pipeline.sealing import batch as batches
from tapeline.pipeline.sealing import follow, journal, policy
from tapeline.pipeline.sealing.journal import Journal, open_journal_for_sealing
from tapeline.pipeline.sealing.seal import Sealed, seal
from tapeline.pipeline.warehouse import database
from tapeline.pipeline.wire.redaction import Redactor

pytestmark = pytest.mark.slow

Rows = list[tuple[Any, ...]]


@pytest.fixture
def directory(data: Path) -> DataDirectory:
    return DataDirectory(data)


def loaded_rows(directory: DataDirectory) -> Rows:
    database.load(directory)
    with database.querying(directory) as connection:
        return connection.execute("SELECT * FROM stored.exchanges ORDER BY exchange_id").fetchall()


def exchange_ids(directory: DataDirectory) -> list[str]:
    return [row[0] for row in loaded_rows(directory)]


def flushed(writer: JournalWriter, directory: DataDirectory, finished: int) -> None:
    """Wait until so many finished exchanges wait in the journal: written by the writer's thread, not sealed yet."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        journal = open_journal_for_sealing(directory.journal("recorder-1"))
        waiting = journal.waiting()[0]
        journal.close()
        if waiting == finished:
            return
        time.sleep(0.02)
    raise AssertionError("the journal was not written")


def test_a_stopped_recorders_journal_becomes_rows_and_goes_away(directory: DataDirectory) -> None:
    make_journal(directory.root, [MadeUp(), MadeUp(ended=False, text="cut")])
    assert seal(directory).exchanges == 2
    assert [row[0] for row in outcomes(directory)] == ["complete", "complete"]
    assert list(directory.journals.iterdir()) == []


def test_an_exchange_without_an_end_is_cut_by_the_recorder(directory: DataDirectory) -> None:
    with recording(directory.root) as writer:
        write_exchanges(writer, [MadeUp(ended=False)])
        writer.add("head", 2, {**head_like(directory), "exchange_id": "no-answer"})
    seal(directory)
    assert outcomes(directory) == [("complete",), ("recorder_stopped",)]


def head_like(directory: DataDirectory) -> dict[str, Any]:
    """A head as the recorder writes it, without an answer to follow."""
    names = {"run": "run-1", "mode": "regular", "scheme": "https", "host": "h", "port": 443, "path": "/"}
    return {**names, "started_at_us": NOON_US, "http_version": "HTTP/1.1", "headers": [], "api_key_id": None}


def outcomes(directory: DataDirectory) -> Rows:
    database.load(directory)
    with database.querying(directory) as connection:
        return connection.execute("SELECT outcome FROM stored.exchanges ORDER BY started_at, exchange_id").fetchall()


def test_a_running_recorders_finished_exchanges_are_sealed_and_its_open_ones_wait(directory: DataDirectory) -> None:
    with recording(directory.root) as writer:
        write_exchanges(writer, [MadeUp(), MadeUp(ended=False)])
        flushed(writer, directory, 1)
        assert seal(directory).exchanges == 1
        writer.add("ending", 2, {"how": "response", "ended_us": 300_000})
    assert seal(directory).exchanges == 1
    assert outcomes(directory) == [("complete",), ("complete",)]


def sealed_files(directory: DataDirectory) -> list[int]:
    """How many exchanges each file holds."""
    return [pl.read_parquet(path).height for path in sorted(directory.dataset("exchanges").rglob("*.parquet"))]


def wait_for(expected: list[int], directory: DataDirectory) -> None:
    deadline = time.monotonic() + 20
    while sealed_files(directory) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sealed_files(directory) == expected


def test_few_exchanges_wait_for_more_until_the_recorder_ends(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "FOLLOW_SECONDS", 0.01)
    monkeypatch.setattr(journal, "BATCH_EXCHANGES", 3)
    with recording(directory.root) as writer, following(directory, monkeypatch):
        write_exchanges(writer, [MadeUp(), MadeUp()])
        flushed(writer, directory, 2)
        time.sleep(0.3)
        assert sealed_files(directory) == []
        write_exchanges(writer, [MadeUp()], first_number=3)
        wait_for([3], directory)
        flushed(writer, directory, 0)
        write_exchanges(writer, [MadeUp()], first_number=4)
        flushed(writer, directory, 1)
    assert sealed_files(directory) == [3, 1]


def test_large_exchanges_and_those_that_have_waited_wait_no_longer(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "FOLLOW_SECONDS", 0.01)
    monkeypatch.setattr(journal, "BATCH_BYTES", 100_000)
    with recording(directory.root) as writer, following(directory, monkeypatch):
        write_exchanges(writer, [MadeUp(content="x" * 100_000)])
        wait_for([1], directory)
        monkeypatch.setattr(follow, "PATIENCE_SECONDS", 0.0)
        write_exchanges(writer, [MadeUp()], first_number=2)
        wait_for([1, 1], directory)


def test_sealing_and_loading_again_changes_nothing(directory: DataDirectory) -> None:
    make_journal(directory.root, [MadeUp(content=str(number)) for number in range(5)])
    seal(directory)
    rows = loaded_rows(directory)
    assert len(rows) == 5
    assert seal(directory).exchanges == 0
    assert loaded_rows(directory) == rows
    assert database.load(directory).files == 0


def test_a_deleted_warehouse_comes_back_the_same(directory: DataDirectory) -> None:
    make_journal(directory.root, [MadeUp(content=str(number)) for number in range(5)])
    seal(directory)
    rows = loaded_rows(directory)
    directory.warehouse.unlink()
    assert loaded_rows(directory) == rows


def test_a_warehouse_that_cannot_be_read_is_made_anew_and_said_so(directory: DataDirectory) -> None:
    make_journal(directory.root, [MadeUp()])
    seal(directory)
    rows = loaded_rows(directory)
    directory.warehouse.write_bytes(b"not a database" * 1000)
    assert "cannot be read" in (database.load(directory).rebuilt or "")
    assert loaded_rows(directory) == rows


def test_a_file_that_cannot_be_read_is_named_and_the_others_load(directory: DataDirectory) -> None:
    make_journal(directory.root, [MadeUp()])
    seal(directory)
    broken = directory.dataset("exchanges") / "date=2026-11-21" / "broken-000001.parquet"
    broken.write_bytes(b"PAR1 and then nothing")
    loaded = database.load(directory)
    assert loaded.exchanges == 1
    assert [str(broken) in problem for problem in loaded.problems] == [True]


def test_a_file_that_is_broken_behind_its_metadata_is_named_and_the_others_load(directory: DataDirectory) -> None:
    make_journal(directory.root, [MadeUp(content=str(number)) for number in range(50)])
    make_journal(directory.root, [MadeUp()], recorder_id="recorder-2")
    seal(directory)
    broken = next(directory.dataset("exchanges").rglob("recorder-1-*.parquet"))
    data = bytearray(broken.read_bytes())
    data[4:2000] = bytes(1996)
    broken.write_bytes(data)
    loaded = database.load(directory)
    assert loaded.exchanges == 1
    assert [str(broken) in problem for problem in loaded.problems] == [True]


def test_a_batch_over_midnight_is_a_file_a_day(directory: DataDirectory) -> None:
    make_journal(directory.root, [MadeUp(), MadeUp(started_at_us=NOON_US + DAY_US)])
    seal(directory)
    files = sorted(path.relative_to(directory.root) for path in directory.dataset("exchanges").rglob("*.parquet"))
    assert [path.as_posix() for path in files] == [
        "exchanges/date=2026-11-21/recorder-1-000001.parquet",
        "exchanges/date=2026-11-22/recorder-1-000001.parquet",
    ]
    assert len(exchange_ids(directory)) == 2


def test_content_is_stored_once_over_the_batches_of_a_recorder(directory: DataDirectory) -> None:
    history = [{"role": "user", "content": f"turn {turn}"} for turn in range(3)]
    with recording(directory.root) as writer:
        write_exchanges(writer, [MadeUp(messages=history[:2])])
        flushed(writer, directory, 1)
        seal(directory)
        write_exchanges(writer, [MadeUp(messages=history)], first_number=2)
    seal(directory)
    contents = pl.read_parquet(directory.dataset("content") / "**/*.parquet", hive_partitioning=False)
    assert sorted(contents["text"]) == ["turn 0", "turn 1", "turn 2"]
    database.load(directory)
    with database.querying(directory) as connection:
        texts = connection.execute("SELECT text FROM messages ORDER BY exchange_id, position").fetchall()
    assert sorted(texts) == sorted([("turn 0",), ("turn 1",), ("turn 0",), ("turn 1",), ("turn 2",)])


STEPS = ("write_batch", "forget")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("calls_before", [0, 1, 2])
def test_sealing_that_stops_between_two_steps_goes_on_where_it_was(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch, step: str, calls_before: int
) -> None:
    make_journal(directory.root, [MadeUp(content=str(number)) for number in range(3)])
    expected = 3
    with stopping_at(monkeypatch, step, calls_before), pytest.raises(KeyboardInterrupt):
        seal(directory)
    database.load(directory)
    seal(directory)
    assert len(exchange_ids(directory)) == len(set(exchange_ids(directory))) == expected


@contextmanager
def stopping_at(monkeypatch: pytest.MonkeyPatch, step: str, calls_before: int) -> Iterator[None]:
    """Let sealing break off at the n-th call of a step, before or, for `forget`, after it was done."""
    calls = 0
    owner: Any = batches if step == "write_batch" else Journal
    original = getattr(owner, step)

    def stop(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if step == "forget" and calls_before:
            original(*arguments, **options)
            raise KeyboardInterrupt
        if calls > calls_before:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, stop)
        yield


def wait_until(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_load_that_is_killed_leaves_no_half_of_a_file(directory: DataDirectory) -> None:
    make_journal(directory.root, [MadeUp(content=str(number)) for number in range(300)])
    seal(directory)
    for _ in range(3):
        directory.warehouse.unlink(missing_ok=True)
        process = subprocess.Popen([*TAPELINE, "load", "--data", str(directory.root)], stdout=subprocess.DEVNULL)
        wait_until(directory.warehouse.exists)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    ids = exchange_ids(directory)
    assert len(ids) == len(set(ids)) == 300


def test_sealing_and_loading_from_several_processes_at_once(directory: DataDirectory) -> None:
    for recorder in range(3):
        make_journal(directory.root, [MadeUp(content=str(n)) for n in range(200)], recorder_id=f"recorder-{recorder}")
    environment = clean_environment()
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda _: tapeline("load", "--data", directory.root, environment=environment), range(4))
        )
    assert [result.returncode for result in results] == [0, 0, 0, 0], results
    ids = exchange_ids(directory)
    assert len(ids) == len(set(ids)) == 600


def test_a_second_sealing_waits_for_the_first_and_repeats_nothing(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_journal(directory.root, [MadeUp(content=str(number)) for number in range(3)])
    original = files.write_batch
    others: list[Future[Sealed]] = []

    def write_while_another_seals(*arguments: Any) -> Any:
        if not others:
            others.append(pool.submit(seal, directory))
            time.sleep(0.3)
        return original(*arguments)

    monkeypatch.setattr(batches, "write_batch", write_while_another_seals)
    with ThreadPoolExecutor(1) as pool:
        first = seal(directory)
        second = others[0].result()
    assert (first.exchanges, first.problems) == (3, ())
    assert (second.exchanges, second.problems) == (0, ())


def test_losses_reach_the_reports(directory: DataDirectory) -> None:
    with recording(directory.root) as writer:
        write_exchanges(writer, [MadeUp()])
        writer.count_loss("journal: database or disk is full", 3, 1000)
    result = tapeline("report", "usage", "--data", directory.root)
    assert "NOT RECORDED: 3" in result.stdout
    assert "database or disk is full" in tapeline("doctor", "--data", directory.root).stdout


def test_a_file_appears_whole_or_not_at_all(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_journal(directory.root, [MadeUp()])

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        problems = seal(directory).problems
    assert len(problems) == 1
    assert "No space left on device" in problems[0]
    assert list(directory.root.rglob("*.parquet*")) == []
    assert seal(directory).exchanges == 1


def test_an_exchange_that_reading_fails_on_is_kept_as_it_is_and_holds_nothing_up(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_journal(directory.root, [MadeUp(content="one"), MadeUp(content="two")])

    def fail_on_one(captured: CapturedExchange, recorder_id: str, redactor: Redactor | None) -> Record:
        if b"one" in captured.request[0][1]:
            raise RuntimeError("a fault of ours")
        return make_record(captured, recorder_id, redactor)

    monkeypatch.setattr(policy, "make_record", fail_on_one)
    assert seal(directory).exchanges == 2
    database.load(directory)
    with database.querying(directory) as connection:
        rows = connection.execute(
            "SELECT outcome, outcome_detail, request_text FROM exchanges ORDER BY outcome"
        ).fetchall()
    assert [row[0] for row in rows] == ["complete", "invalid"]
    assert "a fault of ours" in rows[1][1]
    assert '"one"' in rows[1][2]


def test_rows_are_read_alike_by_polars(directory: DataDirectory) -> None:
    make_journal(directory.root, [MadeUp()])
    seal(directory)
    frame = pl.scan_parquet(directory.dataset("exchanges") / "**/*.parquet").collect()
    row = frame.row(0, named=True)
    assert (row["model"], row["prompt_tokens"], row["choices"][0]["content"]) == ("gpt-4o-mini", 3, "Hi.")
    assert row["started_at"].isoformat() == "2026-11-21T10:00:00+00:00"
