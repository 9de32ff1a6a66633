"""Checks whether the journal of a recorder that is gone is whole, before it is sealed.

If the write-ahead log is missing or garbled, SQLite silently shows the journal as it was some time ago. The index of
the log, a file that a killed recorder leaves beside it, has the length that the log had.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

from tapeline.addons.tapeline_recorder.journal import JOURNAL_VERSION

from ..records.captured import CapturedBodies
from .journal import PIECE, add_piece, captured_exchange, open_to_read

# https://www.sqlite.org/walformat.html#the_wal_index_header: `mxFrame` and, behind two copies of the header,
# `nBackfill`, the frames that are in the database file already.
_INDEX_BYTES = 136
_FRAMES_AT = 16
_BACKFILLED_AT = 96
EMPTY = "it is empty"
LOG_MISSING = "the end of its write-ahead log is missing"
OLDER = "it is older than what was sealed from it"
#: Damage that shows that something is missing, but not what.
TRACELESS = (EMPTY, LOG_MISSING, OLDER)
#: SQLite's errors for a file that is not as it wrote it.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error means a damaged file, and not a passing state such as a full disk."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def damage_of(path: Path, written_batches: int) -> str | None:
    """Return what is wrong with a journal; None if nothing is, or if it is not a journal of this version.

    `written_batches` is the highest number of a batch in the dataset that came from it.
    """
    if path.stat().st_size == 0:
        return EMPTY
    promised = _promised_frames(path)
    try:
        with closing(open_to_read(path)) as connection:
            if not _is_of_our_version(connection):
                return None
            if promised > _frames(path):
                return LOG_MISSING
            return _damage_within(connection, written_batches)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return str(error)


def _is_of_our_version(connection: sqlite3.Connection) -> bool:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'about'").fetchone():
        return False
    version = connection.execute("SELECT value FROM about WHERE name = 'version'").fetchone()
    return version is not None and version[0] == str(JOURNAL_VERSION)


def _damage_within(connection: sqlite3.Connection, written_batches: int) -> str | None:
    ((report,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if report != "ok":
        return str(report).splitlines()[-1]
    last_batch = connection.execute("SELECT value FROM about WHERE name = 'last_batch'").fetchone()
    if written_batches > (int(last_batch[0]) if last_batch else 0):
        return OLDER
    try:
        for row in connection.execute("SELECT exchange_id, head, answer, ending FROM exchange"):
            captured_exchange(*row)
        for piece in connection.execute(f"SELECT {PIECE} FROM piece"):  # noqa: S608 - our own names
            add_piece(CapturedBodies(), *piece)
    except (ValueError, TypeError, sqlite3.OperationalError) as error:
        return f"a row cannot be read ({error})"
    return None


def _promised_frames(path: Path) -> int:
    """Return how many frames the log's index counts that are only in the log."""
    index = _read_index(path)
    frames, backfilled = _number(index, _FRAMES_AT), _number(index, _BACKFILLED_AT)
    return frames if frames > backfilled else 0


def _frames(path: Path) -> int:
    """Return how many frames SQLite has found in the log."""
    return _number(_read_index(path), _FRAMES_AT)


def _read_index(path: Path) -> bytes:
    try:
        with path.with_name(f"{path.name}-shm").open("rb") as file:
            return file.read(_INDEX_BYTES)
    except FileNotFoundError:
        return b""


def _number(index: bytes, offset: int) -> int:
    number: int = struct.unpack_from("=I", index, offset)[0] if len(index) == _INDEX_BYTES else 0
    return number
