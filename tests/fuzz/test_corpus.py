"""Replays the corpus: the properties hold for its inputs, and the files have what was read from them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.journal_writer import JournalWriter
from tapeline.pipeline.records.captured import CapturedExchange
from tapeline.pipeline.sealing.policy import policy_of
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse import database
from tapeline.pipeline.wire.json_text import loads
from tests.fuzz.properties import PLAIN, SEPARATOR, case_of, check
from tests.support.journals.journals import recording
from tests.support.places import DATA

CORPUS = sorted((DATA / "fuzz_corpus").iterdir())
MOST_FILES = 100
MOST_BYTES = 100_000


def test_the_corpus_is_there_and_small() -> None:
    assert 30 < len(CORPUS) <= MOST_FILES
    assert sum(path.stat().st_size for path in CORPUS) <= MOST_BYTES


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name[:12])
def test_the_properties_hold(path: Path) -> None:
    check(path.read_bytes())


@pytest.mark.parametrize("data", [b"", b"0", PLAIN, PLAIN + SEPARATOR, b"\xff" * 400])
def test_the_properties_hold_for_odd_inputs(data: bytes) -> None:
    check(data)


def write(writer: JournalWriter, number: int, exchange: CapturedExchange) -> None:
    """Queue an exchange as the recorder does."""
    writer.add("head", number, exchange.head)
    for part, chunks in (("request", exchange.request), ("response", exchange.response)):
        for chunk in chunks:
            writer.add(part, number, chunk)
    for part, values in (("answer", exchange.answer), ("ending", exchange.ending)):
        if values is not None:
            writer.add(part, number, values)


def test_files_have_what_was_read(data: Path) -> None:
    exchanges = [case_of(path.read_bytes()).captured() for path in CORPUS]
    for number, exchange in enumerate(exchanges):
        exchange.exchange_id = exchange.head["exchange_id"] = f"exchange-{number:03d}"
    with recording(data) as writer:
        for number, exchange in enumerate(exchanges, 1):
            write(writer, number, exchange)
    directory = DataDirectory(data)
    assert seal(directory).exchanges == len(exchanges)
    rows = pl.read_parquet(data / "exchanges" / "**" / "*.parquet", hive_partitioning=False).to_dicts()
    policy = policy_of({}, directory)
    expected = [policy.record(exchange, "recorder-1") for exchange in exchanges]
    assert rows == [record.row for record in expected]
    database.load(directory)
    with database.querying(directory) as connection:
        contents = connection.execute("SELECT content_id, json FROM content").fetchall()
    kept = {content_id: loads(json) for content_id, json in contents}
    sent = {content.content_id: loads(content.json) for record in expected for content in record.contents}
    assert kept == sent
