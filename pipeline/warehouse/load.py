"""Loads files of the datasets into the warehouse: all that can be read, in one transaction.

A file that cannot be read, or whose columns do not fit, is left out and named; the others are loaded. `database` knows
which files are new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..dataset.schema import CONTENT, DATASETS, EXCHANGES, Dataset
from ..errors import DataError
from .conversations import link_all, link_new

# Read by a check whether a file can be read.
_ROWS_AT_ONCE = 1000
_PARQUET = "read_parquet($paths, union_by_name = true, hive_partitioning = false)"
# The number of a row in these files.
_NUMBER = "(CAST(file_index AS BIGINT) << 32) + file_row_number"


@dataclass
class Loaded:
    """Counts and problems of one load."""

    files: int = 0
    exchanges: int = 0
    rebuilt: str | None = None
    problems: tuple[str, ...] = ()


def load_files(
    connection: duckdb.DuckDBPyConnection, directory: DataDirectory, new: dict[str, list[Path]], loaded: Loaded
) -> None:
    """Load these files of each dataset, and add to the counts in `loaded`. Raises duckdb.Error."""
    tables = {name: _columns(connection, f"stored.{name}") for name in new}
    readable = _without_broken(new, lambda name, path: _check_columns(connection, tables[name], path), loaded)
    try:
        _load_in_one(connection, directory, readable, loaded)
    except duckdb.Error:
        # A file may have sound metadata and broken data: reading all of each file shows which. Or its rows need more
        # memory than was set.
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        connection.execute("RESET memory_limit")
        readable = _without_broken(readable, lambda _, path: _read_all(connection, path), loaded)
        _load_in_one(connection, directory, readable, loaded)
    connection.execute("CHECKPOINT")


def _load_in_one(
    connection: duckdb.DuckDBPyConnection, directory: DataDirectory, new: dict[str, list[Path]], loaded: Loaded
) -> None:
    """Insert rows and the names of their files in one transaction."""
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
            [{"dataset": name, "path": file_key(directory, path), "file": str(path)} for path in paths],
        )
    connection.execute("COMMIT")
    loaded.files = sum(map(len, new.values()))
    loaded.exchanges = exchanges


def _without_broken(
    paths: dict[str, list[Path]], check: Callable[[str, Path], None], loaded: Loaded
) -> dict[str, list[Path]]:
    """Return the files that can be read; the others become problems."""
    readable: dict[str, list[Path]] = {name: [] for name in paths}
    for name, path in [(name, path) for name, members in paths.items() for path in members]:
        try:
            check(name, path)
        except (duckdb.Error, DataError) as error:
            reason = str(error).splitlines()[0]
            loaded.problems += (f"{path} is left out: {reason}. Move it away, or bring it back from a copy.",)
        else:
            readable[name].append(path)
    return readable


def _check_columns(connection: duckdb.DuckDBPyConnection, table: dict[str, str], path: Path) -> None:
    """Check by a file's metadata whether its rows fit the table. Raises DataError if they do not."""
    columns = _columns(connection, _PARQUET, [path])
    key = next(iter(table))
    if key not in columns:
        raise DataError(f"it has no column {key}")
    for column, kind in table.items():
        if columns.get(column, kind) != kind:
            raise DataError(f"its column {column} is {columns[column]}, not {kind}")


def _read_all(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    rows = connection.execute(f"SELECT * FROM {_PARQUET}", {"paths": [str(path)]})  # noqa: S608 - our own names
    while rows.fetchmany(_ROWS_AT_ONCE):
        pass


def _arriving(dataset: Dataset) -> str:
    """Return SQL for the rows of the files `$paths`, numbered; columns that older files lack are NULL."""
    return (
        f"(SELECT * FROM stored.{dataset.name} WHERE false UNION ALL BY NAME "  # noqa: S608 - our own name
        f"SELECT *, {_NUMBER} AS number FROM {_PARQUET})"
    )


def _insert_exchanges(connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> int:
    """Insert the files' exchanges, linked to conversations; return how many there were."""
    names = {"paths": [str(path) for path in paths]}
    has_late_parents = link_new(connection, _arriving(EXCHANGES), names)
    columns = ", ".join(f'arriving."{column.name}"' for column in EXCHANGES.columns)
    inserted = connection.execute(
        f"INSERT INTO stored.exchanges SELECT {columns}, links.parent_exchange_id, "  # noqa: S608 - our own names
        "coalesce(links.conversation_id, exchange_id), links.repeated_prefix_messages, "
        f"links.repeated_prefix_characters FROM {_arriving(EXCHANGES)} arriving LEFT JOIN links USING (number)",
        names,
    ).fetchone()
    if has_late_parents:
        link_all(connection)
    return int(inserted[0]) if inserted else 0


def _insert(connection: duckdb.DuckDBPyConnection, dataset: Dataset, paths: list[Path]) -> None:
    """Insert the files' rows."""
    names = {"paths": [str(path) for path in paths]}
    columns = ", ".join(f'"{column.name}"' for column in dataset.columns)
    if dataset is not CONTENT:
        connection.execute(f"INSERT INTO stored.{dataset.name} SELECT {columns} FROM {_arriving(dataset)}", names)  # noqa: S608
        return
    # One recording may have the text of content that another was to drop.
    connection.execute(
        f"UPDATE stored.content SET text = arriving.text, json = arriving.json FROM {_arriving(CONTENT)} arriving "  # noqa: S608
        "WHERE content.content_id = arriving.content_id AND coalesce(content.json, content.text) IS NULL "
        "AND coalesce(arriving.json, arriving.text) IS NOT NULL",
        names,
    )
    for condition in ("coalesce(json, text) IS NOT NULL", "coalesce(json, text) IS NULL"):
        connection.execute(
            f"INSERT INTO stored.content SELECT DISTINCT ON (content_id) {columns} FROM {_arriving(CONTENT)} "  # noqa: S608
            f"WHERE {condition} ON CONFLICT DO NOTHING",
            names,
        )


def _columns(connection: duckdb.DuckDBPyConnection, source: str, paths: Iterable[Path] = ()) -> dict[str, str]:
    """Return names and types of the columns of a table or of Parquet files."""
    parameters = {"paths": [str(path) for path in paths]} if source == _PARQUET else None
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}", parameters).fetchall()  # noqa: S608 - our own names
    return {row[0]: row[1] for row in described}


def file_key(directory: DataDirectory, path: Path) -> str:
    return path.relative_to(directory.root).as_posix()
