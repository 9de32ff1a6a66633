"""Imports one file: writes its exchanges into a journal of its own, by the recorder's rules, and seals that journal.

The head of each exchange gets the entry `imported`, which tells sealing what the file lacks: the times of chunks and,
for bodies without their content coding, the sizes on the wire. Ids follow from the file's content, so an exchange that
is already in the directory is not imported twice.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
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
from tapeline.addons.tapeline_recorder.journal_entries import Answer, Ending, Head
from tapeline.addons.tapeline_recorder.keyed_hash import keyed_hash
from tapeline.addons.tapeline_recorder.masking import Mask, credentials_in, masks_for
from tapeline.addons.tapeline_recorder.recorder_files import RecorderFiles

from ..errors import DataError
from ..sealing.seal import seal
from ..warehouse.database import load, querying
from . import har
from .imported_exchange import ImportedExchange, ReadReport

# The number of exchanges that are looked up and written together.
BATCH_EXCHANGES = 100
LOCK_SECONDS = 60.0
_BLANK = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass
class ImportResult:
    """What became of a file's exchanges."""

    run: str
    imported: int = 0
    #: Exchanges that the directory already had.
    known: int = 0
    report: ReadReport = field(default_factory=ReadReport)
    problems: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return the counts in one line."""
        parts = [f"{self.imported:,} exchanges imported as run {self.run}"]
        if self.known:
            parts.append(f"{self.known:,} were there already")
        if skipped := self.report.skipped:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))
            parts.append(f"left out {skipped.total():,}: {reasons}")
        return "; ".join(parts)


def import_file(directory: DataDirectory, path: Path, run: str) -> ImportResult:
    """Import a file's chat completions. Raises DataError for a file or a directory that cannot be read or written.

    A damaged file is imported up to the damage, which `report.damage` describes.
    """
    result = ImportResult(run)
    try:
        directory.create()
        with _only_import(directory):
            result.problems += seal(directory).problems
            load(directory)
            _write_journal(directory, result, _new_exchanges(directory, result, _read(path, result.report)))
            result.problems += seal(directory).problems
            load(directory)
    except (OSError, sqlite3.Error) as error:
        raise DataError(f"{path} could not be imported: {error}.") from error
    if result.report.damage is not None and not (result.imported or result.known or result.report.skipped):
        raise DataError(f"{path} is neither a flow file of mitmproxy nor an HTTP archive: {result.report.damage}.")
    return result


def _read(path: Path, report: ReadReport) -> Iterator[ImportedExchange]:
    """Yield the exchanges of a file; its first bytes decide on the format, not its name."""
    with path.open("rb") as file:
        start = file.peek(64).removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANK)
    if not start.startswith(b"{"):
        from . import mitmproxy_flows

        return mitmproxy_flows.read(path, report)
    try:
        return har.read(path.read_bytes(), report)
    except DataError as error:
        raise DataError(f"{path} cannot be imported: {error}.") from error


def _new_exchanges(
    directory: DataDirectory, result: ImportResult, exchanges: Iterable[ImportedExchange]
) -> Iterator[list[ImportedExchange]]:
    """Yield the exchanges that the directory does not have yet, in batches."""
    seen: set[str] = set()
    for batch in batched(exchanges, BATCH_EXCHANGES):
        stored = _stored_ids(directory, [exchange.exchange_id for exchange in batch])
        new = []
        for exchange in batch:
            if exchange.exchange_id in stored or exchange.exchange_id in seen:
                result.known += 1
            else:
                seen.add(exchange.exchange_id)
                new.append(exchange)
        if new:
            yield new


def _stored_ids(directory: DataDirectory, exchange_ids: list[str]) -> set[str]:
    with querying(directory) as connection:
        rows = connection.execute(
            "SELECT exchange_id FROM stored.exchanges WHERE exchange_id IN (SELECT unnest($ids))", {"ids": exchange_ids}
        ).fetchall()
    return {exchange_id for (exchange_id,) in rows}


@contextmanager
def _only_import(directory: DataDirectory) -> Iterator[None]:
    """Hold the lock on imports: two at once would not see each other's exchanges, and store some of them twice."""
    lock = Lock(directory.lock("import"))
    if not lock.take(LOCK_SECONDS):
        raise DataError(f"Another import into {directory.root} has not ended for {LOCK_SECONDS:.0f} s: end it.")
    try:
        yield
    finally:
        lock.release()


def _write_journal(directory: DataDirectory, result: ImportResult, batches: Iterator[list[ImportedExchange]]) -> None:
    batch = next(batches, None)
    if batch is None:
        return
    recorder_id = f"{time.strftime('%Y%m%dt%H%M%Sz', time.gmtime())}-{secrets.token_hex(3)}"
    files = RecorderFiles(directory, {"recorder_id": recorder_id, "run": result.run, "redact": "credentials"})
    salt = load_salt(directory.salt)
    with closing(files.open()) as connection:
        try:
            while batch is not None:
                _write(connection, _entries(batch, result, salt))
                batch = next(batches, None)
        finally:
            files.leave()


def _write(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        write_entries(connection, last_commit(connection) + 1, entries, [])
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _entries(exchanges: Iterable[ImportedExchange], result: ImportResult, salt: bytes) -> Iterator[Entry]:
    """Yield the journal entries of the exchanges, numbered by `result.imported`, which counts them."""
    for exchange in exchanges:
        result.imported += 1
        number = result.imported
        credentials = credentials_in(exchange.request_headers, exchange.target, frozenset(REQUEST_HEADERS))
        masks = masks_for(credentials, salt)
        ending: Ending = {**exchange.ending, "request_sent_us": exchange.times.get("request_sent_us")}
        yield "head", number, _head(exchange, result.run, credentials, salt)
        if exchange.status is not None:
            yield "answer", number, _answer(exchange, exchange.status)
        request_mask, response_mask = Mask(masks), Mask(masks)
        if request := request_mask.feed(exchange.request) + request_mask.finish():
            yield "request", number, (0, request)
        if response := response_mask.feed(exchange.response) + response_mask.finish():
            yield "response", number, (0, response)
        if request_mask.count:
            ending["request_masked"] = request_mask.count
        if response_mask.count:
            ending["response_masked"] = response_mask.count
        yield "ending", number, ending


def _head(exchange: ImportedExchange, run: str, credentials: Sequence[str], salt: bytes) -> Head:
    key = find_key(exchange.request_headers, exchange.target)
    return {
        "exchange_id": exchange.exchange_id,
        "run": run,
        "started_at_us": exchange.started_at_us,
        "client_connection_id": exchange.client_connection_id,
        "mode": exchange.mode,
        "scheme": exchange.scheme,
        "host": exchange.host,
        "port": exchange.port,
        "path": kept_path(exchange.target),
        "http_version": exchange.http_version,
        "headers": kept_headers(exchange.request_headers, REQUEST_HEADERS),
        "api_key_id": fingerprint(key, salt) if key else None,
        "credentials": [(len(credential), keyed_hash(credential, salt)) for credential in credentials],
        "imported": exchange.note,
    }


def _answer(exchange: ImportedExchange, status: int) -> Answer:
    return {
        **exchange.times,
        "status_code": status,
        "http_version": exchange.http_version,
        "headers": kept_headers(exchange.response_headers, RESPONSE_HEADERS),
    }
