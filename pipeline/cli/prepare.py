"""What a command does before its query: seal, load, price and connect."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..errors import UsageError
from .output import note
from .progress import waiting

if TYPE_CHECKING:
    import duckdb

    from ..sealing.seal import Sealed
    from ..warehouse.load import Loaded
    from ..warehouse.query import Prices

NOTHING_THERE = "{} does not exist: record something first, or name another with --data."


@contextmanager
def ready_with_prices(
    directory: DataDirectory, prices: Path | None = None, as_of: datetime | None = None, model: str | None = None
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Prices]]:
    """Do as `ready_to_query` does, and price the calls: by a file, of another day, on another model beside.

    The prices are passed to each query that shows costs. Raises UsageError for a wrong file or an unknown model.
    """
    from ..pricing.prices_file import read_prices_file
    from ..pricing.stored_costs import bring_up_to_date, own_prices_file, prices_for

    file = read_prices_file(prices) if prices is not None else own_prices_file(directory)
    ready = ready_to_query(directory)
    if prices is None and os.access(directory.root, os.W_OK):
        with waiting("Pricing calls"):
            bring_up_to_date(directory, file)
    with ready as connection:
        with waiting("Pricing calls"):
            found = prices_for(connection, file, as_of, model)
        yield connection, found


@contextmanager
def ready_without_prices(directory: DataDirectory) -> Iterator[tuple[duckdb.DuckDBPyConnection, None]]:
    """Do as `ready_to_query` does, for queries that show no costs."""
    with ready_to_query(directory) as connection:
        yield connection, None


def ready_to_query(directory: DataDirectory) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """Seal and load new exchanges, then connect; problems on the way are printed to stderr."""
    from ..warehouse import database

    if not directory.root.is_dir():
        raise UsageError(NOTHING_THERE.format(directory.root))
    if not os.access(directory.root, os.W_OK) and directory.warehouse.exists():
        note(f"{directory.root} cannot be written: what is not loaded yet stays out.")
        return database.querying(directory)
    seal_and_load(directory)
    return database.querying(directory)


def seal_and_load(directory: DataDirectory) -> tuple[Sealed, Loaded]:
    """Seal and load new exchanges; problems are printed to stderr."""
    from ..sealing.seal import seal
    from ..warehouse import database

    with waiting("Sealing what was recorded"):
        sealed = seal(directory)
    with waiting("Loading what is new"):
        loaded = database.load(directory)
    if loaded.rebuilt:
        note(f"The warehouse was rebuilt from the dataset: {loaded.rebuilt}.")
    for problem in sealed.problems + loaded.problems:
        note(problem)
    return sealed, loaded
