"""The warehouse: a DuckDB file with the datasets loaded, each file exactly once, and the views that reports read.

It is a cache: a warehouse of another version, or one that cannot be read, is rebuilt from the dataset. The names of
loaded files are written in the same transaction as their rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import duckdb

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import Lock

from ..dataset.schema import CONTENT, COSTS, DATASETS, EXCHANGES, LINKS, Dataset
from ..errors import DataError, TapelineError
from .conversations import TABLES
from .engines.duckdb import BUSY_SECONDS, DUCKDB_TYPES, first_line, is_damage, open_connection
from .load import Loaded, file_key, load_files
from .sql_files import sql_text


def load(directory: DataDirectory) -> Loaded:
    """Load the new files of the dataset. Raises DataError if the disk is full or another process keeps the file."""
    if not directory.root.is_dir():
        raise DataError(f"{directory.root} does not exist: record something first, or name another with --data.")
    with _loading(directory):
        return _load_or_rebuild(directory)


@contextmanager
def querying(directory: DataDirectory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a read-only connection to the warehouse as it is. Raises DataError if a query meets damage in it."""
    with _naming_damage(directory), open_connection(directory.warehouse, read_only=True) as connection:
        yield connection


@contextmanager
def changing(directory: DataDirectory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection that may write; loads wait for it, and it waits for loads.

    Raises DataError if it meets damage or cannot write.
    """
    with (
        _naming_damage(directory),
        _loading(directory),
        open_connection(directory.warehouse, read_only=False) as connection,
    ):
        yield connection


@contextmanager
def _naming_damage(directory: DataDirectory) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, TapelineError) as error:
        if not is_damage(error if isinstance(error, duckdb.Error) else error.__cause__):
            raise
        raise DataError(f"{directory.warehouse} is damaged: delete it, and it is rebuilt from the dataset.") from error


@contextmanager
def _loading(directory: DataDirectory) -> Iterator[None]:
    lock = Lock(directory.lock("load"))
    if not lock.take(BUSY_SECONDS):
        raise DataError(f"Another load of {directory.root} has not ended for {BUSY_SECONDS:.0f} s: end it.")
    try:
        yield
    except (duckdb.IOException, duckdb.FatalException) as error:
        raise DataError(
            f"{directory.warehouse} cannot be written: {first_line(error)}. Free or change the disk."
        ) from error
    except duckdb.Error as error:
        raise DataError(f"{directory.warehouse} cannot be loaded: {first_line(error)}.") from error
    finally:
        lock.release()


def _definition() -> str:
    tables = [_table(dataset) for dataset in DATASETS.values()]
    return "\n".join(
        [
            "CREATE SCHEMA stored;",
            "CREATE TABLE stored.about (definition VARCHAR);",
            "CREATE TABLE stored.files (dataset VARCHAR, path VARCHAR, row_count BIGINT, PRIMARY KEY (dataset, path));",
            *tables,
            TABLES,
            _without_costs(),
            sql_text("costs"),
            sql_text("views"),
        ]
    )


def _table(dataset: Dataset) -> str:
    more = LINKS if dataset is EXCHANGES else ()
    columns = [f'"{column.name}" {DUCKDB_TYPES[column.kind]}' for column in (*dataset.columns, *more)]
    if dataset is CONTENT:
        columns.append('PRIMARY KEY ("content_id")')
    return f"CREATE TABLE stored.{dataset.name} ({', '.join(columns)});"


def _without_costs() -> str:
    """Return the view of exchanges without costs, whose columns are there and NULL."""
    nothing = ", ".join(f'CAST(NULL AS {DUCKDB_TYPES[column.kind]}) AS "{column.name}"' for column in COSTS)
    return f"CREATE VIEW stored.without_costs AS SELECT *, {nothing} FROM stored.exchanges;"  # noqa: S608 - our own names


def _definition_hash() -> str:
    return sha256(_definition().encode()).hexdigest()


def _create(connection: duckdb.DuckDBPyConnection) -> None:
    exists = connection.execute(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = 'stored' AND table_name = 'about'"
    ).fetchone()
    if not exists:
        connection.execute("BEGIN")
        connection.execute(_definition())
        connection.execute("INSERT INTO stored.about VALUES ($definition)", {"definition": _definition_hash()})
        connection.execute("COMMIT")


def _discard_unusable(warehouse: Path) -> str | None:
    """Remove a warehouse that cannot be used, and return why; all of it can be loaded again."""
    if not warehouse.exists():
        return None
    try:
        with open_connection(warehouse, read_only=True) as connection:
            made_by = connection.execute("SELECT definition FROM stored.about").fetchone()
            _known_files(connection)
    except duckdb.CatalogException:
        return _discard(warehouse, "it lacks Tapeline's tables")
    except duckdb.Error as error:
        return _discard(warehouse, f"it cannot be read ({first_line(error)})")
    return None if made_by == (_definition_hash(),) else _discard(warehouse, "another version of Tapeline made it")


def _discard(warehouse: Path, reason: str) -> str:
    for path in (warehouse, _log(warehouse)):
        path.unlink(missing_ok=True)
    return reason


def _log(warehouse: Path) -> Path:
    """Return the file in which DuckDB keeps what a killed load had committed."""
    return warehouse.with_name(f"{warehouse.name}.wal")


def _known_files(connection: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    return set(connection.execute("SELECT dataset, path FROM stored.files").fetchall())


def _load_or_rebuild(directory: DataDirectory) -> Loaded:
    rebuilt = _discard_unusable(directory.warehouse)
    try:
        return _load_new(directory, rebuilt)
    except duckdb.Error as error:
        if not is_damage(error):
            raise
        return _load_new(directory, _discard(directory.warehouse, f"it is damaged ({first_line(error)})"))


def _load_new(directory: DataDirectory, rebuilt: str | None) -> Loaded:
    loaded = Loaded(rebuilt=rebuilt)
    new = _new_files(directory)
    if any(new.values()) or not directory.warehouse.exists() or _log(directory.warehouse).exists():
        with open_connection(directory.warehouse, read_only=False) as connection:
            _create(connection)
            load_files(connection, directory, new, loaded)
    return loaded


def _new_files(directory: DataDirectory) -> dict[str, list[Path]]:
    known: set[tuple[str, str]] = set()
    if directory.warehouse.exists():
        with open_connection(directory.warehouse, read_only=True) as connection:
            known = _known_files(connection)
    return {
        name: [
            path
            for path in sorted(directory.dataset(name).glob("date=*/*.parquet"))
            if not path.name.startswith(".") and (name, file_key(directory, path)) not in known
        ]
        for name in DATASETS
    }
