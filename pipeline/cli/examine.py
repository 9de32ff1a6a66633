"""Examines a data directory without changing it: versions, certificate, journals, datasets, losses.

Losses and unreadable files are listed with their reasons.
"""

from __future__ import annotations

import platform
import stat
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import duckdb
from cryptography import x509

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal import is_locked
from tapeline.addons.tapeline_recorder.loss_ledger import read_ledger

from ..dataset.schema import DATASETS
from ..errors import TapelineError
from ..reports.definition import find_report
from ..sealing.journal import open_journal_to_look
from ..warehouse import database
from ..warehouse.query import fetch
from ..warehouse.sql_files import sql_text

Finding = tuple[str, str, Any]
_PACKAGES = ("tapeline", "mitmproxy", "duckdb", "polars")
# The last lines of the sealing process; older ones are in its file.
_LOG_LINES = 3


def examine(directory: DataDirectory) -> list[Finding]:
    """Return the findings: heading, name and state of each."""
    findings = [*_versions(), *_directory(directory)]
    if directory.root.is_dir():
        findings += [
            *_certificate(directory),
            *_journals(directory),
            *_datasets(directory),
            *_warehouse(directory),
        ]
    return findings


def _versions() -> Iterator[Finding]:
    yield "versions", "python", platform.python_version()
    for name in _PACKAGES:
        try:
            yield "versions", name, version(name)
        except PackageNotFoundError:
            yield "versions", name, "not installed"


def _directory(directory: DataDirectory) -> Iterator[Finding]:
    if not directory.root.is_dir():
        yield "data directory", str(directory.root), "not there yet: `tapeline record` makes it"
        return
    mode = stat.S_IMODE(directory.root.stat().st_mode)
    yield (
        "data directory",
        str(directory.root),
        "private" if not mode & 0o077 else f"open to others (mode {mode:o})",
    )
    if directory.seal_log.exists():
        lines = directory.seal_log.read_text("utf-8", "replace").splitlines()
        for line in lines[-_LOG_LINES:]:
            yield "data directory", "sealing said", line


def _certificate(directory: DataDirectory) -> Iterator[Finding]:
    path = directory.certificates / "mitmproxy-ca-cert.pem"
    if not path.exists():
        yield "certificate", "CA", "not made yet: `tapeline record` makes it"
        return
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    yield "certificate", "CA", f"{path}, valid until {certificate.not_valid_after_utc.date().isoformat()}"


def _journals(directory: DataDirectory) -> Iterator[Finding]:
    recorder_ids = directory.recorder_ids() if directory.journals.is_dir() else []
    if not recorder_ids:
        yield "journals", "recorders", "none is running, nothing waits to be sealed"
    for recorder_id in recorder_ids:
        state = "running" if is_locked(directory.recorder_lock(recorder_id)) else "stopped"
        try:
            journal = open_journal_to_look(directory.journal(recorder_id))
        except TapelineError as error:
            yield "journals", recorder_id, str(error)
            continue
        finished, unfinished = journal.waiting()
        journal.close()
        yield (
            "journals",
            recorder_id,
            f"{state}, {finished:,} finished and {unfinished:,} open exchanges to seal",
        )
        notes = read_ledger(directory.ledger(recorder_id), journal.last_commit)
        for loss in notes.losses if notes else ():
            yield "journals", recorder_id, f"{loss.exchanges:,} exchanges are not in its journal: {loss.reason}"


def _datasets(directory: DataDirectory) -> Iterator[Finding]:
    for name in DATASETS:
        paths: list[Path] = list(directory.dataset(name).glob("date=*/*.parquet"))
        size = sum(path.stat().st_size for path in paths)
        yield "datasets", name, f"{len(paths):,} files, {size:,} bytes"


def _warehouse(directory: DataDirectory) -> Iterator[Finding]:
    if not directory.warehouse.exists():
        yield "warehouse", "exchanges", "nothing is loaded yet: `tapeline load`"
        return
    try:
        with database.querying(directory) as connection:
            yield from _loaded(connection)
    except (duckdb.Error, TapelineError) as error:
        yield "warehouse", "exchanges", f"cannot be read ({error}): `tapeline load` rebuilds it"


def _loaded(connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    _, rows = fetch(
        connection,
        "SELECT count(*), count(*) FILTER (WHERE len(reassembly_problems) > 0) FROM stored.exchanges",
    )
    exchanges, with_problems = rows[0]
    yield "warehouse", "exchanges", f"{exchanges:,} loaded, {with_problems:,} not reassembled without loss"
    for problem, count, example in fetch(connection, sql_text("problems"))[1]:
        yield "warehouse", "reassembly", f"{count:,} exchanges: {problem} (for one, `tapeline show {example[-12:]}`)"
    _, losses = fetch(connection, find_report("losses").sql)
    if not losses:
        yield "losses", "not recorded", "nothing known to be lost"
    for run, reason, count, _, at in losses:
        yield "losses", f"run {run}", f"{count:,} exchanges not recorded, last {at:%Y-%m-%d %H:%M:%S}: {reason}"
