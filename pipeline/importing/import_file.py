"""Takes in what a file holds: writes it into a journal of its own, by the recorder's rules, and seals that.

The head of each exchange has `imported`, by which sealing knows what the file does not say: the times of chunks, and,
where the file has bodies without their coding, their sizes on the wire. An exchange that is there is not taken in
again: its id follows from the file.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.headers import (
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    find_key,
    fingerprint,
    kept_headers,
    kept_path,
    load_salt,
)
from tapeline.addons.tapeline_recorder.journal import Entry, Lock, last_commit, write_entries
from tapeline.addons.tapeline_recorder.keyed_hash import keyed_hash
from tapeline.addons.tapeline_recorder.masking import Mask, credentials_in, masks_for
from tapeline.addons.tapeline_recorder.recorder_files import RecorderFiles

from ..errors import DataError
from ..sealing.seal import seal
from ..warehouse.database import load, querying
from ..wire.json_text import JsonObject
from . import har
from .imported_exchange import Found, ImportedExchange

# Looked up, and written, at once.
EXCHANGES_AT_ONCE = 100
LOCK_SECONDS = 60.0
_BLANK = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"


@dataclass
class ImportResult:
    """What became of a file."""

    run: str
    taken: int = 0
    known: int = 0
    found: Found = field(default_factory=Found)
    problems: tuple[str, ...] = ()


def import_file(directory: DataDirectory, path: Path, run: str) -> ImportResult:
    """Take in a file's chat completions. Raises DataError for a file or a directory that cannot be read or written.

    A file that is damaged somewhere is taken in up to there; `found.damage` tells.
    """
    result = ImportResult(run)
    try:
        directory.create()
        with _alone(directory):
            result.problems += seal(directory).problems
            load(directory)
            _write_journal(directory, result, _new(directory, result, _arrivals(path, result.found)))
            result.problems += seal(directory).problems
            load(directory)
    except (OSError, sqlite3.Error) as error:
        raise DataError(f"{path} could not be taken in: {error}.") from error
    if result.found.damage is not None and not (result.taken or result.known or result.found.left_out):
        raise DataError(f"{path} is no flow file of mitmproxy and no HTTP archive: {result.found.damage}.")
    return result


def _arrivals(path: Path, found: Found) -> Iterator[ImportedExchange]:
    """The exchanges of a file, whatever its name says that it is."""
    with path.open("rb") as file:
        start = file.peek(64).removeprefix(_MARK).lstrip(_BLANK)
    if not start.startswith(b"{"):
        from . import mitmproxy_flows

        return mitmproxy_flows.read(path, found)
    try:
        return har.read(path.read_bytes(), found)
    except DataError as error:
        raise DataError(f"{path} cannot be taken in: {error}.") from error


def _new(
    directory: DataDirectory, result: ImportResult, arrivals: Iterable[ImportedExchange]
) -> Iterator[list[ImportedExchange]]:
    """Those that are not there yet, some at a time."""
    seen: set[str] = set()
    for some in batched(arrivals, EXCHANGES_AT_ONCE):
        there = _there(directory, [arrival.exchange_id for arrival in some])
        new = []
        for arrival in some:
            if arrival.exchange_id in there or arrival.exchange_id in seen:
                result.known += 1
            else:
                seen.add(arrival.exchange_id)
                new.append(arrival)
        if new:
            yield new


def _there(directory: DataDirectory, exchange_ids: list[str]) -> set[str]:
    with querying(directory) as connection:
        rows = connection.execute(
            "SELECT exchange_id FROM stored.exchanges WHERE exchange_id IN (SELECT unnest($ids))", {"ids": exchange_ids}
        ).fetchall()
    return {exchange_id for (exchange_id,) in rows}


@contextmanager
def _alone(directory: DataDirectory) -> Iterator[None]:
    """Of two that take in the same at once, the second would not know of the first."""
    lock = Lock(directory.lock("import"))
    if not lock.take(LOCK_SECONDS):
        raise DataError(f"Another import into {directory.root} has not ended for {LOCK_SECONDS:.0f} s: end it.")
    try:
        yield
    finally:
        lock.release()


def _write_journal(directory: DataDirectory, result: ImportResult, portions: Iterator[list[ImportedExchange]]) -> None:
    first = next(portions, None)
    if first is None:
        return
    recorder_id = f"{time.strftime('%Y%m%dt%H%M%Sz', time.gmtime())}-{secrets.token_hex(3)}"
    station = RecorderFiles(directory, {"recorder_id": recorder_id, "run": result.run, "redact": "credentials"})
    salt = load_salt(directory.salt)
    with closing(station.open()) as connection:
        try:
            portion: list[ImportedExchange] | None = first
            while portion is not None:
                _write(connection, _entries(portion, result, salt))
                portion = next(portions, None)
        finally:
            station.leave()


def _write(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        write_entries(connection, last_commit(connection) + 1, entries, [])
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _entries(arrivals: Iterable[ImportedExchange], result: ImportResult, salt: bytes) -> Iterator[Entry]:
    for arrival in arrivals:
        result.taken += 1
        number = result.taken
        credentials = credentials_in(arrival.request_headers, arrival.target, frozenset(REQUEST_HEADERS))
        masks = masks_for(credentials, salt)
        ending = dict(arrival.ending)
        yield (
            "head",
            number,
            _head(arrival, result.run, salt)
            | {"credentials": [(len(credential), keyed_hash(credential, salt)) for credential in credentials]},
        )
        if arrival.status is not None:
            yield "answer", number, _answer(arrival)
        for part, body in (("request", arrival.request), ("response", arrival.response)):
            mask = Mask(masks)
            if kept := mask.feed(body) + mask.finish():
                yield part, number, (0, kept)
            if mask.count:
                ending[f"{part}_masked"] = mask.count
        yield "ending", number, ending | {name: arrival.times.get(name) for name in ("request_sent_us",)}


def _head(arrival: ImportedExchange, run: str, salt: bytes) -> JsonObject:
    key = find_key(arrival.request_headers, arrival.target)
    return {
        "exchange_id": arrival.exchange_id,
        "run": run,
        "started_at_us": arrival.started_at_us,
        **arrival.head,
        "path": kept_path(arrival.target),
        "headers": kept_headers(arrival.request_headers, REQUEST_HEADERS),
        "api_key_id": fingerprint(key, salt) if key else None,
        "imported": {"decoded": arrival.is_decoded, "stream": arrival.stream, "bytes": arrival.sizes},
    }


def _answer(arrival: ImportedExchange) -> JsonObject:
    return {
        "status_code": arrival.status,
        "http_version": arrival.head["http_version"],
        "headers": kept_headers(arrival.response_headers, RESPONSE_HEADERS),
        **arrival.times,
    }
