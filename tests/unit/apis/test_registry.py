"""Which API a path or a row belongs to, and rows of files that are older than the column `api`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.journals.captured import captured
from tests.support.journals.journals import MadeUp, make_journal

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.options import DEFAULT_PATH
from tapeline.pipeline.apis.registry import APIS, PATH_PATTERN, api_for_path, api_named, api_of, is_recorded_path
from tapeline.pipeline.errors import DataError
from tapeline.pipeline.export.jsonl import batch_lines
from tapeline.pipeline.export.selection import Count, exchanges
from tapeline.pipeline.playback.response_plan import plan_response
from tapeline.pipeline.records.record import make_record
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse.database import load, querying
from tapeline.pipeline.warehouse.exchanges import find_exchange, request_of, response_of
from tapeline.pipeline.warehouse.query import Filters


def test_the_recorder_records_the_paths_of_all_apis() -> None:
    """The addon has no part of the pipeline, so it writes the pattern out."""
    assert DEFAULT_PATH == PATH_PATTERN


def test_names_are_unique() -> None:
    assert len({api.name for api in APIS}) == len(APIS)
    assert [api_named(api.name) for api in APIS] == list(APIS)


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
def test_an_endpoint_is_a_path_of_its_api(api: Any) -> None:
    for path in (f"/v1{api.endpoint}", api.batch_url, api.endpoint):
        assert is_recorded_path(path)
        assert api_for_path(path) is api


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/chat/completions/",
        "/api/v1/chat/completions?api-version=1",
        "/openai/deployments/x/chat/completions?api-version=2024-10-21",
    ],
)
def test_paths_of_chat_completions(path: str) -> None:
    assert is_recorded_path(path)
    assert api_for_path(path).name == "chat_completions"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions/x", "/v1?path=/chat/completions", ""])
def test_a_path_that_no_api_claims_is_read_as_chat_completions(path: str) -> None:
    assert not is_recorded_path(path)
    assert api_for_path(path).name == "chat_completions"


def test_the_name_of_a_newer_version_is_refused_with_advice() -> None:
    row = make_record(captured(), "r1").row
    row["api"] = "telepathy"
    with pytest.raises(DataError, match="does not know the API 'telepathy': install"):
        api_of(row)


def test_a_record_names_its_api() -> None:
    for path in ("/v1/chat/completions", "/a/path/of/the/users/own"):
        assert make_record(captured(path=path), "r1").row["api"] == "chat_completions"


def test_rows_of_older_files_are_read_as_chat_completions(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    make_journal(directory.root, [MadeUp(content="How are you?", text="Fine.")])
    seal(directory)
    (file,) = directory.dataset("exchanges").glob("date=*/*.parquet")
    pl.read_parquet(file, hive_partitioning=False).drop("api").write_parquet(file)
    assert load(directory).exchanges == 1
    with querying(directory) as connection:
        row = find_exchange(connection, "")
        assert row["api"] is None
        assert request_of(connection, row)["messages"] == [{"role": "user", "content": "How are you?"}]
        assert response_of(row)["choices"][0]["message"]["content"] == "Fine."
        assert json.loads(plan_response(row, asks_stream=False, asks_usage=False).parts[0][1]) == response_of(row)
        (line,) = batch_lines(exchanges(connection, Filters()), Count())
        assert json.loads(line)["url"] == "/v1/chat/completions"
