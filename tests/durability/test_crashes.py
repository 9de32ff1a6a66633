"""Kills at every step of sealing and loading, and at random moments under load: nothing twice, nothing lost."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.headers import load_salt
from tapeline.pipeline.dataset.schema import DATASETS
from tapeline.pipeline.warehouse import database
from tests.support.journals.journals import DAY_US, NOON_US, MadeUp, recording, wait_until_written, write_exchanges
from tests.support.processes.recorder import tapeline_here
from tests.torture.dying import Place, die_at
from tests.torture.run import torture

pytestmark = pytest.mark.slow

# What came more than 200 ms before a kill is promised to be kept; a machine under load is given more.
KEPT_SECONDS = 1.0
KILLS = 8

Rows = dict[str, list[tuple[Any, ...]]]
BATCH = "tapeline.pipeline.sealing.batch"
JOURNAL = "tapeline.pipeline.sealing.journal:Journal"
TABLES = "tapeline.pipeline.warehouse.load"

SEALING = [
    Place(JOURNAL, "number_batch", "before"),
    Place(JOURNAL, "number_batch", "after"),
    Place("os", "fdopen", "after"),  # an empty temporary file is left
    Place("os", "fsync", "before"),  # a whole one is left
    Place("os", "fsync", "after", 2),  # the content's first file has its name
    Place(BATCH, "write_batch", "after", 1),
    Place(BATCH, "write_batch", "after", 2),
    Place("os", "fsync", "before", 13),  # one of two files of exchanges has its name
    Place(BATCH, "write_batch", "after", 3),
    Place(JOURNAL, "forget", "before"),
    Place(JOURNAL, "forget", "after"),
    Place(JOURNAL, "close", "after"),
    *(Place("pathlib:Path", "unlink", "after", calls) for calls in range(1, 5)),
]
LOADING = [
    Place("duckdb", "COMMIT", "before", 1),  # the first makes the tables
    Place("duckdb", "COMMIT", "after", 1),
    Place(TABLES, "_insert", "after", 1),
    Place(TABLES, "link_new", "after"),
    Place(TABLES, "_insert_exchanges", "after"),
    Place("duckdb", "COMMIT", "before", 2),
    Place("duckdb", "COMMIT", "after", 2),
    Place("duckdb", "CHECKPOINT", "before"),
    Place("duckdb", "CHECKPOINT", "after"),
]


@pytest.fixture(scope="module")
def killed_recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a killed recorder leaves: exchanges of two days, one that was cut, two losses, all in the log beside."""
    folder = tmp_path_factory.mktemp("recorder")
    DataDirectory(folder / "alive").create()
    load_salt(folder / "alive" / "salt")
    days = [
        MadeUp(content=f"{day} {number}", started_at_us=NOON_US + day * DAY_US) for day in (0, 1) for number in (0, 1)
    ]
    with recording(folder / "alive") as writer:
        write_exchanges(writer, [*days, MadeUp(content="cut", ended=False)])
        writer.count_loss("journal: disk is full", 3, 1000)
        writer.count_loss("recorder: a fault", 1, 0)
        wait_until_written(folder / "alive", exchanges=5, losses=2)
        # Its files as they are now, and nobody who holds its lock.
        shutil.copytree(folder / "alive", folder / "killed")
    return folder / "killed"


@pytest.fixture(scope="module")
def expected(killed_recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, list[str]]:
    """What is there when nothing is killed."""
    root = tmp_path_factory.mktemp("expected") / "recordings"
    shutil.copytree(killed_recorder, root)
    return loaded(root), files(root)


def loaded(root: Path) -> Rows:
    """Seal and load; every row of every dataset."""
    result = tapeline_here("load", "--data", root)
    assert result.returncode == 0
    assert result.stderr in ("", "The warehouse was rebuilt from the dataset: it lacks Tapeline's tables.\n")
    with database.querying(DataDirectory(root)) as connection:
        return {name: connection.execute(f"SELECT * FROM stored.{name} ORDER BY ALL").fetchall() for name in DATASETS}


def files(root: Path) -> list[str]:
    """Everything in a data directory."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


@pytest.mark.parametrize("place", [*SEALING, *LOADING], ids=str)
def test_a_kill_at_any_step_changes_nothing_of_what_comes_out(
    place: Place, killed_recorder: Path, data: Path, expected: tuple[Rows, list[str]]
) -> None:
    shutil.copytree(killed_recorder, data)
    die_at(place, "load", "--data", data)
    assert (loaded(data), files(data)) == expected
    assert loaded(data) == expected[0]


def test_kills_at_random_moments_under_load_cost_no_more_than_the_last_moments(data: Path) -> None:
    seed = time.time_ns() % 1_000_000
    verdict, kills = torture(data, KILLS, seed, KEPT_SECONDS)
    table = f"seed {seed}\n{verdict.table(kills)}"
    assert verdict.problems == [], table
    assert (verdict.doubled, verdict.lost, kills.total()) == (0, 0, KILLS), table
    assert verdict.partial > 0, table
