"""The warehouse: a DuckDB file with the datasets loaded, each file exactly once, and the views that reports read.

It is a cache. Everything in it comes from the dataset and can be loaded again: a warehouse that another version made,
or that cannot be read, is made anew. What is loaded from where is noted in the same transaction as the rows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import duckdb

from tapeline.addons.tapeline_journal import Lock
from tapeline.addons.tapeline_paths import DataDirectory

from .errors import DataError
from .linking import TABLES, link_all, link_new
from .schema import CONTENT, DATASETS, EXCHANGES, LINKS, Dataset
from .sqltext import sql_text

# Other processes hold the file for the time of a load or a query.
BUSY_SECONDS = 60.0
_RETRY_SECONDS = 0.05

_CHOICE = (
    'STRUCT("index" BIGINT, role VARCHAR, content VARCHAR, refusal VARCHAR, reasoning VARCHAR, finish_reason VARCHAR, '
    'tool_calls STRUCT("index" BIGINT, id VARCHAR, "type" VARCHAR, "name" VARCHAR, arguments VARCHAR)[], '
    "logprobs VARCHAR, extra VARCHAR)[]"
)
#: What a column's kind is in DuckDB.
KINDS = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "flag": "BOOLEAN",
    "time": "TIMESTAMPTZ",
    "money": "DECIMAL(38, 12)",
    "texts": "VARCHAR[]",
    "integers": "BIGINT[]",
    "choices": _CHOICE,
    "headers": 'STRUCT("name" VARCHAR, "value" VARCHAR)[]',
}


@dataclass
class Loaded:
    """What a load did."""

    files: int = 0
    exchanges: int = 0
    rebuilt: str | None = None
    problems: tuple[str, ...] = ()


def load(directory: DataDirectory) -> Loaded:
    """Load what is new in the dataset. Raises DataError when the disk does not take it, or somebody keeps the file."""
    if not directory.root.is_dir():
        raise DataError(f"{directory.root} does not exist: record something first, or name another with --data.")
    lock = Lock(directory.lock("load"))
    if not lock.take(BUSY_SECONDS):
        raise DataError(f"Another load of {directory.root} has not ended for {BUSY_SECONDS:.0f} s: end it.")
    try:
        rebuilt = _discard_unusable(directory.warehouse)
        new = _new_files(directory)
        loaded = Loaded(rebuilt=rebuilt)
        if any(new.values()) or not directory.warehouse.exists():
            with _connection(directory.warehouse, read_only=False) as connection:
                _create(connection)
                _load_files(connection, directory, new, loaded)
        return loaded
    except (duckdb.IOException, duckdb.FatalException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{directory.warehouse} cannot be written: {reason}. Free or change the disk.") from error
    finally:
        lock.release()


@contextmanager
def querying(directory: DataDirectory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to the warehouse as it is."""
    with _connection(directory.warehouse, read_only=True) as connection:
        yield connection


def _definition() -> str:
    tables = [_table(dataset) for dataset in DATASETS.values()]
    return "\n".join(
        [
            "CREATE SCHEMA stored;",
            "CREATE TABLE stored.about (definition VARCHAR);",
            "CREATE TABLE stored.files (dataset VARCHAR, path VARCHAR, row_count BIGINT, PRIMARY KEY (dataset, path));",
            *tables,
            TABLES,
            sql_text("views"),
        ]
    )


def _table(dataset: Dataset) -> str:
    more = LINKS if dataset is EXCHANGES else ()
    columns = [f'"{column.name}" {KINDS[column.kind]}' for column in (*dataset.columns, *more)]
    if dataset is CONTENT:
        columns.append('PRIMARY KEY ("content_id")')
    return f"CREATE TABLE stored.{dataset.name} ({', '.join(columns)});"


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
    """Remove a warehouse that cannot serve, since all of it can be loaded again; say why."""
    if not warehouse.exists():
        return None
    try:
        with _connection(warehouse, read_only=True) as connection:
            made_by = connection.execute("SELECT definition FROM stored.about").fetchone()
        reason = None if made_by == (_definition_hash(),) else "another version of Tapeline made it"
    except duckdb.Error as error:
        reason = f"it cannot be read ({str(error).splitlines()[0]})"
    if reason is not None:
        for path in (warehouse, warehouse.with_name(f"{warehouse.name}.wal")):
            path.unlink(missing_ok=True)
    return reason


def _new_files(directory: DataDirectory) -> dict[str, list[Path]]:
    known: set[tuple[str, str]] = set()
    if directory.warehouse.exists():
        with _connection(directory.warehouse, read_only=True) as connection:
            known = set(connection.execute("SELECT dataset, path FROM stored.files").fetchall())
    return {
        name: [
            path
            for path in sorted(directory.dataset(name).glob("date=*/*.parquet"))
            if not path.name.startswith(".") and (name, _key(directory, path)) not in known
        ]
        for name in DATASETS
    }


def _key(directory: DataDirectory, path: Path) -> str:
    return path.relative_to(directory.root).as_posix()


def _load_files(
    connection: duckdb.DuckDBPyConnection, directory: DataDirectory, new: dict[str, list[Path]], loaded: Loaded
) -> None:
    readable = _without_broken(connection, new, _METADATA, loaded)
    try:
        _load_in_one(connection, directory, readable, loaded)
    except duckdb.Error:
        # A file may be sound in its metadata and broken behind it: reading all of each tells which.
        connection.execute("ROLLBACK")
        readable = _without_broken(connection, readable, _EVERYTHING, loaded)
        _load_in_one(connection, directory, readable, loaded)
    connection.execute("CHECKPOINT")


def _load_in_one(
    connection: duckdb.DuckDBPyConnection, directory: DataDirectory, new: dict[str, list[Path]], loaded: Loaded
) -> None:
    """Rows and the names of their files in one transaction."""
    exchanges = 0
    connection.execute("BEGIN")
    for name, paths in new.items():
        if not paths:
            continue
        if DATASETS[name] is EXCHANGES:
            exchanges = _insert_exchanges(connection, paths)
        else:
            _insert(connection, DATASETS[name], paths)
        connection.executemany(
            "INSERT INTO stored.files SELECT $dataset, $path, num_rows FROM parquet_file_metadata($file)",
            [{"dataset": name, "path": _key(directory, path), "file": str(path)} for path in paths],
        )
    connection.execute("COMMIT")
    loaded.files = sum(map(len, new.values()))
    loaded.exchanges = exchanges


_METADATA = "SELECT num_rows FROM parquet_file_metadata($file)"
_EVERYTHING = "SELECT * FROM read_parquet($file, hive_partitioning = false)"


def _without_broken(
    connection: duckdb.DuckDBPyConnection, paths: dict[str, list[Path]], probe: str, loaded: Loaded
) -> dict[str, list[Path]]:
    """The files that can be read as far as the probe reads them; the others become problems."""
    readable: dict[str, list[Path]] = {name: [] for name in paths}
    for name, path in [(name, path) for name, members in paths.items() for path in members]:
        try:
            connection.execute(probe, {"file": str(path)}).fetchall()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            loaded.problems += (f"{path} is left out: {reason}. Move it away, or bring it back from a copy.",)
        else:
            readable[name].append(path)
    return readable


def _arriving(dataset: Dataset) -> str:
    """The rows of the files `$paths`; columns that files of an older version lack are NULL."""
    return (
        f"(SELECT * FROM stored.{dataset.name} WHERE false UNION ALL BY NAME "  # noqa: S608 - our own name
        "SELECT * FROM read_parquet($paths, union_by_name = true, hive_partitioning = false))"
    )


def _insert_exchanges(connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> int:
    """Insert the files' exchanges, linked to conversations; gives how many there were."""
    names = {"paths": [str(path) for path in paths]}
    has_late_parents = link_new(connection, _arriving(EXCHANGES), names)
    columns = ", ".join(f'arriving."{column.name}"' for column in EXCHANGES.columns)
    inserted = connection.execute(
        f"INSERT INTO stored.exchanges SELECT {columns}, links.parent_exchange_id, "  # noqa: S608 - our own names
        "coalesce(links.conversation_id, exchange_id), links.repeated_prefix_messages, "
        f"links.repeated_prefix_characters FROM {_arriving(EXCHANGES)} arriving LEFT JOIN links USING (exchange_id)",
        names,
    ).fetchone()
    if has_late_parents:
        link_all(connection)
    return int(inserted[0]) if inserted else 0


def _insert(connection: duckdb.DuckDBPyConnection, dataset: Dataset, paths: list[Path]) -> None:
    """Insert the files' rows."""
    columns = ", ".join(f'"{column.name}"' for column in dataset.columns)
    conflict = " ON CONFLICT DO NOTHING" if dataset is CONTENT else ""
    distinct = "DISTINCT ON (content_id) " if dataset is CONTENT else ""
    connection.execute(
        f"INSERT INTO stored.{dataset.name} SELECT {distinct}{columns} FROM {_arriving(dataset)}{conflict}",  # noqa: S608
        {"paths": [str(path) for path in paths]},
    )


@contextmanager
def _connection(path: Path, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    # DuckDB makes files beside its own for as long as the connection lasts.
    previous = os.umask(0o077)
    try:
        with closing(_connect(path, read_only=read_only)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
    finally:
        os.umask(previous)


def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Connect, waiting for others to let go of the file: DuckDB has one writer, or many readers."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return duckdb.connect(path, read_only=read_only)
        except duckdb.IOException as error:
            if "Could not set lock" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise DataError(
                    f"{path} is in use by another process: end it, or delete the file (it can be rebuilt)."
                ) from error
            time.sleep(_RETRY_SECONDS)
