"""Five systems, each by its own document: all that it names is recorded, and comes back as it was.

What the documents name and the exchanges it occurs in are files in `systems/`, read by `support.systems`. A field is
proved to be where its line says: everything else is taken out of the row, and what is put together again from that
column alone has the field as it was sent.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import simplejson
from tests.support.journals.systems import SYSTEMS, Exchange, Line, System, all_systems, documented, values_at

from tapeline.pipeline.apis.chat_completions.columns import rebuild_completion
from tapeline.pipeline.apis.usage import USAGE_PATHS
from tapeline.pipeline.dataset.schema import EXCHANGES
from tapeline.pipeline.records.record import Record, make_record
from tapeline.pipeline.wire.base64_payloads import restore
from tapeline.pipeline.wire.json_text import NOT_JSON, dumps, loads

Object = dict[str, Any]

# Of these a file names what is not NULL; of the others, what it is about.
EXPECTED = (
    *("outcome", "usage_source", "reported_cost", "response_text"),
    *("error_type", "error_code", "error_message", "error_param"),
    *USAGE_PATHS,
)
# Columns from which the answer is put together again, as it also is from the members of `choices`.
ANSWER_COLUMNS = (
    *("response_id", "response_model", "response_created", "system_fingerprint", "served_service_tier"),
    *("response_extra", "usage_raw"),
)
# Of a choice's `extra`: under which name another member was sent.
NAMES = ("reasoning_field", "logprobs_field")
# These tell how the bytes came.
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


def exact(value: Any) -> str:
    """A value as text that shows every digit, whatever the order of keys."""
    return str(simplejson.dumps(value, use_decimal=True, sort_keys=True, indent=1))


def timeless(record: Record) -> tuple[Object, Any]:
    return {name: value for name, value in record.row.items() if name not in TIMES}, record.contents


def rebuilt_request(record: Record, *, without: str = "") -> Object:
    """The request's JSON from its columns and content; `without` names one of the two to leave out."""
    by_id = {content.content_id: loads(content.json) for content in record.contents}
    row = record.row
    request: Object = {} if without == "request_params" else loads(row["request_params"])
    if without != "content":
        request["messages"] = restore([by_id[content_id] for content_id in row["message_ids"]], by_id.get)
        request |= {name: by_id[row[f"{name}_id"]] for name in ("tools", "functions") if row[f"{name}_id"]}
    return request


def test_there_are_the_five_systems() -> None:
    assert [system.folder for system in all_systems()] == sorted(SYSTEMS.iterdir())
    assert [system.folder.name for system in all_systems()] == [
        "aiand",
        "alphaneural",
        "api_v1",
        "bifrost",
        "router402",
    ]


@pytest.mark.parametrize("system", all_systems(), ids=lambda system: system.folder.name)
def test_each_is_asked_plainly_and_with_tools_and_streams_both(system: System) -> None:
    names = {exchange.name for exchange in system.exchanges}
    assert names >= {"stream", "tools", "tools_answered", "tools_streamed"}
    assert all(exchange.events for exchange in system.exchanges if exchange.name.startswith(("stream", "tools_s")))


def test_is_recorded_as_expected(exchange: Exchange) -> None:
    row, about = record_of(exchange).row, exchange.content["recorded"]
    wanted = dict.fromkeys(EXPECTED) | about
    assert {name: row[name] for name in wanted} == wanted
    assert row["streamed"] == bool(exchange.events)
    assert row["provider"] == exchange.system.about["provider"]
    assert row["reassembly_problems"] == []


def test_the_answer_comes_back_as_it_is_without_streaming(exchange: Exchange) -> None:
    row = record_of(exchange).row
    assert exact(rebuild_completion(row)) == exact(exchange.completion)
    assert exact(loads(row["error_raw"]) if row["error_raw"] else None) == exact(exchange.error or None)


def test_the_request_comes_back(exchange: Exchange) -> None:
    assert exact(rebuilt_request(record_of(exchange))) == exact(exchange.request)


def test_is_the_same_byte_by_byte(exchange: Exchange) -> None:
    bodies = exchange.answer, dumps(exchange.request).encode()
    pieces = [[body[at : at + 1] for at in range(len(body))] for body in bodies]
    assert timeless(make_record(exchange.captured(*pieces), "r1")) == timeless(record_of(exchange))


@pytest.mark.slow
def test_is_the_same_cut_in_two_anywhere(exchange: Exchange) -> None:
    answer, request = exchange.answer, dumps(exchange.request).encode()
    whole = timeless(record_of(exchange))
    for cut in range(max(len(answer), len(request)) + 1):
        halves = exchange.captured([answer[:cut], answer[cut:]], [request[:cut], request[cut:]])
        assert timeless(make_record(halves, "r1")) == whole, cut


@pytest.mark.parametrize(
    ("system", "line"), [pytest.param(*found, id=f"{found[0].folder.name}: {found[1].text}") for found in documented()]
)
def test_what_a_document_names_occurs_and_is_where_its_line_says(system: System, line: Line) -> None:
    occurrences = [exchange for exchange in system.exchanges if exchange.values_of(line)]
    assert occurrences, "it occurs in no file"
    for exchange in occurrences:
        record = recorded(system.folder.name, exchange.name)
        for home in line.homes:
            assert_holds(home, line, exchange, record)


def assert_holds(home: str, line: Line, exchange: Exchange, record: Record) -> None:
    values, row = exchange.values_of(line), record.row
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
    elif home in ANSWER_COLUMNS or home.startswith("choices."):
        path = line.path.replace(".delta.", ".message.")
        held = found(line, completion_of(home, row), path)
        assert held
        assert held == found(line, exchange.completion, path)
    else:
        copies = copies_in(home, row)
        assert all(any(says_the_same(value, copy) for copy in copies) for value in values)


def found(line: Line, body: Any, path: str) -> list[Any]:
    return line.found_in(values_at(body, path))


def completion_of(home: str, row: Object) -> Any:
    """The completion from one column alone."""
    column, _, member = home.partition(".")
    kept = dict.fromkeys(row) | {column: row[column]}
    if member:
        kept["choices"] = [choice_of(member, choice) for choice in row["choices"]]
    return rebuild_completion(kept)


def choice_of(member: str, choice: Object) -> Object:
    extra = loads(choice["extra"]) if choice["extra"] else {}
    names = {name: extra[name] for name in NAMES if name in extra}
    return dict.fromkeys(choice) | {"extra": dumps(names) if names else None} | {member: choice[member]}


def copies_in(home: str, row: Object) -> list[Any]:
    """What stands in a column that repeats what another one has whole; `tool_calls` is the view of that name."""
    column, _, member = home.partition(".")
    if member:
        return [call[member] for choice in row["choices"] for call in choice[column]]
    return row[column] if isinstance(row[column], list) else [row[column]]


def says_the_same(value: Any, copy: Any) -> bool:
    if isinstance(copy, float):
        return float(value) == copy
    return bool(value == copy) or (isinstance(copy, str) and (told := loads(copy)) is not NOT_JSON and value == told)
