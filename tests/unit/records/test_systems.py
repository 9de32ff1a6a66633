"""Five systems, each by its own document: every field that the document names is recorded, and comes back unchanged.

The fields and the exchanges in which they occur are files in `tests/data/systems`, read by `support.journals.systems`.
A test proves that a field is in the column that its line names: the body is rebuilt from that column alone, and must
have the field as it was sent.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from tests.support.journals.streams import exact
from tests.support.journals.systems import SYSTEMS, Exchange, Line, System, all_systems, documented, values_at

from tapeline.pipeline.apis.chat_completions.columns import rebuild_completion
from tapeline.pipeline.apis.usage import USAGE_PATHS
from tapeline.pipeline.dataset.schema import EXCHANGES
from tapeline.pipeline.records.record import Record, make_record
from tapeline.pipeline.wire.base64_payloads import restore
from tapeline.pipeline.wire.json_text import NOT_JSON, JsonObject, dumps, loads

# For these columns a file names every value that is not NULL; for the others, only the values that it is about.
EXPECTED = (
    *("outcome", "usage_source", "reported_cost", "response_text"),
    *("error_type", "error_code", "error_message", "error_param"),
    *USAGE_PATHS,
)
# Columns from which the response is rebuilt, besides the members of `choices`.
RESPONSE_COLUMNS = (
    *("response_id", "response_model", "response_created", "system_fingerprint", "served_service_tier"),
    *("response_extra", "usage_raw"),
)
# Members of a choice's `extra` that name the field in which another column's value was sent.
NAMES = ("reasoning_field", "logprobs_field")
# These depend on how the body was cut.
TIMES = tuple(column.name for column in EXCHANGES.columns if column.name.endswith("_us"))
ALL = [exchange for system in all_systems() for exchange in system.exchanges]


@pytest.fixture(params=ALL, ids=lambda exchange: f"{exchange.system.folder.name}/{exchange.name}")
def exchange(request: pytest.FixtureRequest) -> Exchange:
    found: Exchange = request.param
    return found


@cache
def recorded(system: str, name: str) -> Record:
    (exchange,) = (found for found in ALL if (found.system.folder.name, found.name) == (system, name))
    return record_of(exchange)


def record_of(exchange: Exchange) -> Record:
    return make_record(exchange.captured([exchange.answer]), "r1")


def row_of(record: Record) -> JsonObject:
    return {**record.row}


def without_times(record: Record) -> tuple[JsonObject, Any]:
    return {name: value for name, value in record.row.items() if name not in TIMES}, record.contents


def rebuilt_request(record: Record, *, without: str = "") -> JsonObject:
    """Return the request's JSON from its parameters and its content; `without` names one of the two to leave out."""
    by_id = {content.content_id: loads(content.json) for content in record.contents}
    row = row_of(record)
    request: JsonObject = {} if without == "request_params" else loads(row["request_params"])
    if without != "content":
        request["messages"] = restore([by_id[content_id] for content_id in row["message_ids"]], by_id.get)
        request |= {name: by_id[row[f"{name}_id"]] for name in ("tools", "functions") if row[f"{name}_id"]}
    return request


def test_the_five_systems_are_there() -> None:
    assert [system.folder for system in all_systems()] == sorted(SYSTEMS.iterdir())
    assert [system.folder.name for system in all_systems()] == [
        "aiand",
        "alphaneural",
        "api_v1",
        "bifrost",
        "router402",
    ]


@pytest.mark.parametrize("system", all_systems(), ids=lambda system: system.folder.name)
def test_each_has_requests_with_and_without_tools_and_streams_of_both(system: System) -> None:
    names = {exchange.name for exchange in system.exchanges}
    assert names >= {"stream", "tools", "tools_answered", "tools_streamed"}
    assert all(exchange.events for exchange in system.exchanges if exchange.name.startswith(("stream", "tools_s")))


def test_is_recorded_as_expected(exchange: Exchange) -> None:
    row, about = row_of(record_of(exchange)), exchange.content["recorded"]
    wanted = dict.fromkeys(EXPECTED) | about
    assert {name: row[name] for name in wanted} == wanted
    assert row["streamed"] == bool(exchange.events)
    assert row["provider"] == exchange.system.about["provider"]
    assert row["reassembly_problems"] == []


def test_the_response_comes_back_as_it_would_have_been_without_streaming(exchange: Exchange) -> None:
    record = record_of(exchange)
    row = row_of(record)
    assert exact(rebuild_completion(record.row)) == exact(exchange.completion)
    assert exact(loads(row["error_raw"]) if row["error_raw"] else None) == exact(exchange.error or None)


def test_the_request_comes_back(exchange: Exchange) -> None:
    assert exact(rebuilt_request(record_of(exchange))) == exact(exchange.request)


def test_is_the_same_byte_by_byte(exchange: Exchange) -> None:
    bodies = exchange.answer, dumps(exchange.request).encode()
    pieces = [[body[at : at + 1] for at in range(len(body))] for body in bodies]
    assert without_times(make_record(exchange.captured(*pieces), "r1")) == without_times(record_of(exchange))


@pytest.mark.slow
def test_is_the_same_cut_in_two_anywhere(exchange: Exchange) -> None:
    answer, request = exchange.answer, dumps(exchange.request).encode()
    whole = without_times(record_of(exchange))
    for cut in range(max(len(answer), len(request)) + 1):
        halves = exchange.captured([answer[:cut], answer[cut:]], [request[:cut], request[cut:]])
        assert without_times(make_record(halves, "r1")) == whole, cut


@pytest.mark.parametrize(
    ("system", "line"), [pytest.param(*found, id=f"{found[0].folder.name}: {found[1].text}") for found in documented()]
)
def test_a_documented_field_occurs_and_is_in_its_column(system: System, line: Line) -> None:
    occurrences = [exchange for exchange in system.exchanges if exchange.values_of(line)]
    assert occurrences, "it occurs in no file"
    for exchange in occurrences:
        record = recorded(system.folder.name, exchange.name)
        for home in line.homes:
            assert_holds(home, line, exchange, record)


def assert_holds(home: str, line: Line, exchange: Exchange, record: Record) -> None:
    values, row = exchange.values_of(line), row_of(record)
    if home in ("nowhere", "api_key_id"):
        assert all(value.split()[-1] not in repr(record) for value in values)
        assert home == "nowhere" or row[home].startswith("key-")
    elif home in ("request_headers", "response_headers"):
        assert values == [kept["value"] for kept in row[home] if kept["name"] == line.path.lower()]
    elif home in ("request_params", "content"):
        other = "content" if home == "request_params" else "request_params"
        assert found(line, rebuilt_request(record, without=other), line.path) == found(
            line, exchange.request, line.path
        )
    elif home == "error_raw":
        assert found(line, loads(row[home]), line.path) == values
    elif home in RESPONSE_COLUMNS or home.startswith("choices."):
        path = line.path.replace(".delta.", ".message.")
        held = found(line, completion_of(home, row), path)
        assert held
        assert held == found(line, exchange.completion, path)
    else:
        copies = copies_in(home, row)
        assert all(any(is_same(value, copy) for copy in copies) for value in values)


def found(line: Line, body: Any, path: str) -> list[Any]:
    return line.found_in(values_at(body, path))


def completion_of(home: str, row: JsonObject) -> Any:
    """Return the completion rebuilt from one column alone."""
    column, _, member = home.partition(".")
    kept: Any = dict.fromkeys(row) | {column: row[column]}
    if member:
        kept["choices"] = [choice_of(member, choice) for choice in row["choices"]]
    return rebuild_completion(kept)


def choice_of(member: str, choice: JsonObject) -> JsonObject:
    extra = loads(choice["extra"]) if choice["extra"] else {}
    names = {name: extra[name] for name in NAMES if name in extra}
    return dict.fromkeys(choice) | {"extra": dumps(names) if names else None} | {member: choice[member]}


def copies_in(home: str, row: JsonObject) -> list[Any]:
    """Return the values of a column that repeats part of another one; `tool_calls` is the view of that name."""
    column, _, member = home.partition(".")
    if member:
        return [call[member] for choice in row["choices"] for call in choice[column]]
    return row[column] if isinstance(row[column], list) else [row[column]]


def is_same(value: Any, copy: Any) -> bool:
    if isinstance(copy, float):
        return float(value) == copy
    return bool(value == copy) or (
        isinstance(copy, str) and (payload := loads(copy)) is not NOT_JSON and value == payload
    )
