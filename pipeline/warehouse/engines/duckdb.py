"""DuckDB: its types, how to connect to it, and what its errors mean."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb

from ...errors import DataError

# Other processes hold the file during a load or a query.
BUSY_SECONDS = 60.0


_RETRY_SECONDS = 0.05


# The memory of a load: beyond it DuckDB sorts and joins on the disk. Keeping the order of rows would take more memory
# and read one file after the other.
_LEAN = """
SET preserve_insertion_order = false;
SET memory_limit =
  format_bytes(CAST(least(parse_formatted_bytes(current_setting('memory_limit')), 3 * 1024 ** 3) AS BIGINT));
"""


# DuckDB's errors for a file that is not as it wrote it.
_DAMAGE = ("Corrupt database file", "Could not read enough bytes", "not a valid DuckDB database")


_CHOICE = (
    'STRUCT("index" BIGINT, role VARCHAR, content VARCHAR, refusal VARCHAR, reasoning VARCHAR, finish_reason VARCHAR, '
    'tool_calls STRUCT("index" BIGINT, id VARCHAR, "type" VARCHAR, "name" VARCHAR, arguments VARCHAR)[], '
    "logprobs VARCHAR, extra VARCHAR)[]"
)


#: The type of each kind of column in DuckDB.
DUCKDB_TYPES = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "flag": "BOOLEAN",
    "time": "TIMESTAMPTZ",
    "money": "DECIMAL(38, 12)",
    "rate": "DECIMAL(25, 24)",
    "texts": "VARCHAR[]",
    "integers": "BIGINT[]",
    "choices": _CHOICE,
    "headers": 'STRUCT("name" VARCHAR, "value" VARCHAR)[]',
}


def is_damage(error: BaseException | None) -> bool:
    """Whether an error means damaged bytes in the warehouse, not a full disk or a wrong query."""
    return isinstance(error, duckdb.Error) and any(said in str(error) for said in _DAMAGE)


def first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]


@contextmanager
def open_connection(path: Path, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    # DuckDB keeps files beside its own while the connection is open.
    previous = os.umask(0o077)
    try:
        with closing(_connect(path, read_only=read_only)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            if not read_only:
                connection.execute(_LEAN)
            yield connection
    finally:
        os.umask(previous)


def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Connect, and wait for other processes to release the file: DuckDB allows one writer or many readers."""
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
