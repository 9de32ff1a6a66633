"""What a command does before it asks: seal, load, price and connect."""

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

NOTHING_THERE = "{} does not exist: record something first, or name another with --data."


@contextmanager
def ready_with_prices(
    directory: DataDirectory, prices: Path | None = None, as_of: datetime | None = None, model: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same as `ready_to_query`, with costs: by a file of prices, of another day, on another model beside."""
    from ..pricing.prices_file import read_prices_file
    from ..pricing.stored_costs import bring_up_to_date, own_prices_file, use_model, use_prices

    file = read_prices_file(prices) if prices is not None else own_prices_file(directory)
    ready = ready_to_query(directory)
    if prices is None and os.access(directory.root, os.W_OK):
        with waiting("Pricing calls"):
            bring_up_to_date(directory, file)
    with ready as connection:
        with waiting("Pricing calls"):
            use_prices(connection, file, as_of)
            if model is not None:
                use_model(connection, file, model, as_of)
        yield connection


def ready_to_query(directory: DataDirectory) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """Seal and load what is new, then connect; what went wrong on the way is said on stderr."""
    from ..warehouse import database

    if not directory.root.is_dir():
        raise UsageError(NOTHING_THERE.format(directory.root))
    if not os.access(directory.root, os.W_OK) and directory.warehouse.exists():
        note(f"{directory.root} cannot be written: what is not loaded yet stays out.")
        return database.querying(directory)
    seal_and_load(directory)
    return database.querying(directory)


def seal_and_load(directory: DataDirectory) -> tuple[Sealed, Loaded]:
    """Seal and load what is new; what went wrong on the way is said on stderr."""
    from ..sealing.seal import seal
    from ..warehouse import database

    with waiting("Sealing what was recorded"):
        sealed = seal(directory)
    with waiting("Loading what is new"):
        loaded = database.load(directory)
    if loaded.rebuilt:
        note(f"The warehouse was made anew from the dataset: {loaded.rebuilt}.")
    for problem in sealed.problems + loaded.problems:
        note(problem)
    return sealed, loaded
