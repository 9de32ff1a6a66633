"""What requests repeat is stored once: messages without their text twice, images without their turns."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.journals.journals import MadeUp, make_journal

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.sealing import batch as batches
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse import database
from tapeline.pipeline.warehouse.exchanges import find_exchange, request_of
from tapeline.pipeline.wire.json_text import loads


@pytest.fixture
def directory(data: Path) -> DataDirectory:
    return DataDirectory(data)


def test_the_text_of_a_long_message_is_kept_up_to_a_length_and_the_message_whole(directory: DataDirectory) -> None:
    text = "0123456789" * (batches.MAX_TEXT_CHARACTERS // 10)
    make_journal(directory.root, [MadeUp(content=text), MadeUp(content=text + "more")])
    seal(directory)
    contents = pl.read_parquet(directory.dataset("content") / "**/*.parquet", hive_partitioning=False)
    assert contents["text"].to_list() == [text, text]
    assert contents["json"][0] is None
    assert loads(contents["json"][1])["content"] == text + "more"


def test_what_is_more_than_a_role_and_a_text_keeps_its_json_in_the_files_and_all_have_it_in_the_warehouse(
    directory: DataDirectory,
) -> None:
    plain = [
        {"role": "user", "content": 'quote " backslash \\ tab \t line \n nul \x00 \x7f \u2028 é 漢 \U0001f600'},
        {"role": "system", "content": ""},
        {"role": 'odd "role"', "content": "x"},
    ]
    more: list[Any] = [
        {"content": "the other way round", "role": "user"},
        {"role": "user", "content": "half a pair \ud83d"},
        {"role": "user", "content": "named", "name": "Ada"},
        {"role": "user", "content": [{"type": "text", "text": "parts"}]},
        {"role": "assistant", "content": None},
        {"role": 1, "content": "no name of a role"},
        {"content": "no role"},
        "no message",
        None,
    ]
    make_journal(directory.root, [MadeUp(messages=[*plain, *more])])
    seal(directory)
    contents = pl.read_parquet(directory.dataset("content") / "**/*.parquet", hive_partitioning=False)
    assert contents["json"].is_null().to_list() == [True] * len(plain) + [False] * len(more)
    database.load(directory)
    with database.querying(directory) as connection:
        rows = connection.execute("SELECT json FROM messages ORDER BY position").fetchall()
        ((exchange_id,),) = connection.execute("SELECT exchange_id FROM exchanges").fetchall()
        request = request_of(connection, find_exchange(connection, exchange_id))
    assert [loads(json) for (json,) in rows] == [*plain, *more] == request["messages"]


def test_an_image_that_is_sent_with_every_turn_is_stored_once(directory: DataDirectory) -> None:
    image = {"url": "data:image/png;base64," + base64.b64encode(os.urandom(300_000)).decode()}
    first = {"role": "user", "content": [{"type": "image_url", "image_url": image}]}
    answer, second = {"role": "assistant", "content": "A cat."}, {"role": "user", "content": "Sure?"}
    turns: list[list[Any]] = [[first], [first, answer, second]]
    make_journal(directory.root, [MadeUp(messages=turn) for turn in turns])
    seal(directory)
    stored = sum(path.stat().st_size for path in directory.root.rglob("*.parquet"))
    assert stored < 1.1 * len(image["url"])
    database.load(directory)
    with database.querying(directory) as connection:
        (payload,) = connection.execute(
            "SELECT media_type, payload_bytes FROM content WHERE kind = 'payload'"
        ).fetchall()
        rows = connection.execute("SELECT exchange_id FROM exchanges ORDER BY message_count").fetchall()
        requests = [request_of(connection, find_exchange(connection, exchange_id)) for (exchange_id,) in rows]
    assert payload == ("image/png", 300_000)
    assert [request["messages"] for request in requests] == turns
