"""Damaged and foreign files in the dataset, and damaged warehouses: named and left out, or rebuilt."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import polars as pl
import pytest

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse import database
from tests.support.journals.journals import MadeUp, make_journal
from tests.support.processes.recorder import tapeline_here

pytestmark = pytest.mark.slow

EXCHANGES = 3
Rows = list[tuple[Any, ...]]
Change = Callable[[Path], object]


@pytest.fixture
def directory(data: Path) -> DataDirectory:
    """A recording of two recorders, sealed and not loaded."""
    make_journal(data, [MadeUp(content=f"a {number}") for number in range(EXCHANGES)], recorder_id="recorder-1")
    make_journal(data, [MadeUp(content="b")], recorder_id="recorder-2")
    directory = DataDirectory(data)
    seal(directory)
    return directory


def rows(directory: DataDirectory) -> Rows:
    with database.querying(directory) as connection:
        return connection.execute("SELECT * FROM stored.exchanges ORDER BY exchange_id").fetchall()


def file_of(directory: DataDirectory, dataset: str = "exchanges") -> Path:
    return next(directory.dataset(dataset).rglob("recorder-1-*.parquet"))


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def put_garbage(path: Path) -> None:
    path.write_bytes(Random(1).randbytes(5000))


def put_foreign_columns(path: Path) -> None:
    pl.DataFrame({"weather": ["rain"], "degrees": [3]}).write_parquet(path)


def put_no_columns_of_ours_but_the_key(path: Path) -> None:
    pl.DataFrame({"exchange_id": [7], "content_id": [7]}).write_parquet(path)


def put_other_types(path: Path) -> None:
    frame = pl.read_parquet(path, hive_partitioning=False)
    frame.with_columns(pl.lit("many").alias(frame.columns[-1])).write_parquet(path)


def put_another_dataset(path: Path) -> None:
    other = "content" if "exchanges" in path.parts else "exchanges"
    source = next(path.parents[2].joinpath(other).rglob("recorder-1-*.parquet"))
    shutil.copy(source, path)


BREAKING: list[Change] = [
    shorten,
    empty,
    put_garbage,
    put_foreign_columns,
    put_no_columns_of_ours_but_the_key,
    put_other_types,
    put_another_dataset,
]


@pytest.mark.parametrize("dataset", ["exchanges", "content"])
@pytest.mark.parametrize("change", BREAKING, ids=lambda change: change.__name__)
def test_a_file_that_is_not_ours_is_said_at_each_load_until_a_good_one_takes_its_place(
    change: Change, dataset: str, directory: DataDirectory
) -> None:
    path = file_of(directory, dataset)
    good = path.read_bytes()
    change(path)
    for _ in range(2):
        problems = database.load(directory).problems
        assert [str(path) in problem for problem in problems] == [True], problems
        assert len(rows(directory)) == (1 if dataset == "exchanges" else 1 + EXCHANGES)
    path.write_bytes(good)
    assert database.load(directory).problems == ()
    assert len(rows(directory)) == 1 + EXCHANGES
    assert database.load(directory).files == 0


def test_a_file_of_an_older_version_loads_and_lacks_what_it_did_not_have(directory: DataDirectory) -> None:
    path = file_of(directory)
    frame = pl.read_parquet(path, hive_partitioning=False)
    frame.drop("reassembly_problems").write_parquet(path)
    assert database.load(directory).problems == ()
    with database.querying(directory) as connection:
        sql = "SELECT recorder_id, reassembly_problems FROM stored.exchanges GROUP BY ALL ORDER BY recorder_id"
        assert connection.execute(sql).fetchall() == [("recorder-1", None), ("recorder-2", [])]


def test_a_file_that_is_not_ours_keeps_no_command_from_its_work(directory: DataDirectory) -> None:
    put_foreign_columns(file_of(directory))
    result = tapeline_here("report", "usage", "--data", directory.root)
    assert result.returncode == 0
    assert str(file_of(directory)) in result.stderr
    assert "1 calls" in result.stdout


def keep_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def keep_the_head(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def put_a_foreign_database(path: Path) -> None:
    path.unlink()
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE diary (entry VARCHAR)")


def drop_the_list_of_files(path: Path) -> None:
    with duckdb.connect(path) as connection:
        connection.execute("DROP TABLE stored.files")


SPOILING: list[Change] = [
    empty,
    put_garbage,
    keep_half,
    keep_the_head,
    put_a_foreign_database,
    drop_the_list_of_files,
]


@pytest.mark.parametrize("change", SPOILING, ids=lambda change: change.__name__)
def test_a_spoilt_warehouse_is_made_anew_and_said_so(change: Change, directory: DataDirectory) -> None:
    database.load(directory)
    before = rows(directory)
    change(directory.warehouse)
    result = tapeline_here("load", "--data", directory.root)
    assert "The warehouse was rebuilt from the dataset: " in result.stderr
    assert (result.returncode, len(result.stderr.splitlines())) == (0, 1)
    assert rows(directory) == before
    assert tapeline_here("load", "--data", directory.root).stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("new_files", [True, False])
def test_garbage_anywhere_in_the_warehouse_changes_no_answer(new_files: bool, directory: DataDirectory) -> None:
    """Everywhere in turn: the answer is right, or the command says what is wrong and the next one is right."""
    long = [MadeUp(content=f"{number}", text=Random(number).randbytes(3000).hex()) for number in range(200)]
    make_journal(directory.root, long, recorder_id="recorder-0")
    seal(directory)
    database.load(directory)
    sound = directory.warehouse.read_bytes()
    if new_files:
        make_journal(directory.root, [MadeUp(content="a 1"), MadeUp(content="later")], recorder_id="recorder-3")
        seal(directory)
    question = ("sql", "SELECT * FROM exchanges ORDER BY exchange_id", "--format", "json", "--data", directory.root)
    expected = tapeline_here(*question).stdout
    said = set()
    for start in range(20_000, len(sound), 262_144):
        directory.warehouse.write_bytes(sound[:start] + Random(start).randbytes(5000) + sound[start + 5000 :])
        result = tapeline_here(*question)
        if result.returncode:
            assert (result.stdout, "delete it" in result.stderr) == ("", True), result.stderr
            said.add("delete it")
            directory.warehouse.unlink()
            result = tapeline_here(*question)
        assert (result.returncode, result.stdout) == (0, expected)
        said.add(result.stderr.partition(":")[0])
    assert ("The warehouse was rebuilt from the dataset" if new_files else "delete it") in said
