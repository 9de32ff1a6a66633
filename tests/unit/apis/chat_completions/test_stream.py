"""Response bodies as providers send them, each a file named for its quirk, and what is read from them.

Beside each `streams/*.sse`, the raw bytes of a body, lies a `.json` with what must be read: the completion is what the
provider would have sent without streaming. `lossless` says that nothing was guessed and nothing left out.
"""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import brotli
import pytest
import simplejson
import zstandard
from tests.support.places import DATA

from tapeline.pipeline.apis.base import Chunk, ParsedResponse
from tapeline.pipeline.apis.body_reader import read_response
from tapeline.pipeline.apis.chat_completions.api import ChatCompletions
from tapeline.pipeline.apis.chat_completions.columns import flatten_completion, rebuild_completion
from tapeline.pipeline.wire.json_text import NOT_JSON, loads

CHAT = ChatCompletions()
STREAMS = sorted((DATA / "streams").glob("*.sse"))
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "gzip, zstd": lambda body: zstandard.compress(gzip.compress(body)),
}


def exact(value: Any) -> str:
    """A value as text that shows every digit, whatever the order of keys."""
    return str(simplejson.dumps(value, use_decimal=True, sort_keys=True, indent=1))


def said(answer: ParsedResponse) -> str:
    """What must be the same however a body is cut: everything but the times."""
    values = {name: value for name, value in vars(answer).items() if name not in ("times", "event_offsets_us")}
    return exact(values)


def expected(path: Path) -> dict[str, Any]:
    values = loads(path.with_suffix(".json").read_bytes())
    assert values is not NOT_JSON, path
    return {"content_type": "text/event-stream", "content_encoding": "", "text": None, **values}


def read(chunks: Iterable[Chunk], path: Path, content_encoding: str = "") -> ParsedResponse:
    wanted = expected(path)
    encoding = content_encoding or wanted["content_encoding"]
    return read_response(CHAT, chunks, content_type=wanted["content_type"], content_encoding=encoding)


def one_chunk(body: bytes) -> list[Chunk]:
    return [(1, body)]


def byte_by_byte(body: bytes) -> list[Chunk]:
    return [(at_us, body[at_us : at_us + 1]) for at_us in range(len(body))]


@pytest.fixture(params=STREAMS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_every_body_has_what_is_expected_of_it() -> None:
    folder = DATA / "streams"
    assert {path.stem for path in STREAMS} == {path.stem for path in folder.glob("*.json")}
    assert len(STREAMS) > 100


def test_is_read_as_expected(path: Path) -> None:
    answer, wanted = read(one_chunk(path.read_bytes()), path), expected(path)
    for name in ("streamed", "done", "finished", "problems", "error", "text", "completion"):
        assert exact(getattr(answer, name)) == exact(wanted[name]), name
    assert wanted["lossless"] == (not answer.problems)


def test_is_the_same_in_columns(path: Path) -> None:
    completion = expected(path)["completion"]
    assert exact(rebuild_completion(flatten_completion(completion))) == exact(completion)


def test_is_the_same_byte_by_byte(path: Path) -> None:
    body = path.read_bytes()
    assert said(read(byte_by_byte(body), path)) == said(read(one_chunk(body), path))


@pytest.mark.slow
def test_is_the_same_cut_in_two_anywhere(path: Path) -> None:
    body = path.read_bytes()
    whole = vars(read(one_chunk(body), path)) | {"times": None, "event_offsets_us": None}
    for cut in range(len(body) + 1):
        halves = read([(1, body[:cut]), (2, body[cut:])], path)
        assert vars(halves) | {"times": None, "event_offsets_us": None} == whole, body[:cut]


@pytest.mark.parametrize("coding", CODINGS)
def test_is_the_same_in_every_coding(path: Path, coding: str) -> None:
    body = path.read_bytes()
    coded = CODINGS[coding](body)
    plain = said(read(one_chunk(body), path))
    assert said(read(one_chunk(coded), path, coding)) == plain
    assert said(read(byte_by_byte(coded), path, coding)) == plain


def event(delta: str, more: str = "") -> bytes:
    return f'data: {{"choices":[{{"index":0,"delta":{{{delta}}}{more}}}]}}\n\n'.encode()


def test_a_time_is_that_of_the_chunk_that_completes_the_event() -> None:
    events = [
        event('"role":"assistant","content":""'),
        event('"reasoning":"Hm"'),
        event('"content":"Yes"'),
        event('"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]'),
        event("", ',"finish_reason":"stop"'),
        b"data: [DONE]\n\n",
    ]
    chunks: list[Chunk] = [(5, b": hold on\n\n")]
    for number, data in enumerate(events, 1):
        # An event is there when its blank line is.
        chunks += [(number * 10, data[:-1]), (number * 10 + 1, data[-1:])]
    answer = read_response(CHAT, chunks, content_type="text/event-stream")
    assert answer.event_offsets_us == [11, 21, 31, 41, 51, 61]
    assert answer.event_sizes == [0, 2, 3, 3, 0, 0]
    assert answer.times == {
        "first_event_us": 11,
        "first_token_us": 21,
        "first_reasoning_us": 21,
        "first_content_us": 31,
        "first_tool_call_us": 41,
        "last_token_us": 41,
    }


def test_times_of_several_events_in_a_chunk_and_of_one_that_the_end_completes() -> None:
    first, last = event('"content":"A"') + event('"content":"B"'), event('"content":"C"').rstrip()
    answer = read_response(CHAT, [(10, first), (20, last)], content_type="text/event-stream")
    assert answer.event_offsets_us == [10, 10, 20]
    assert (answer.times["first_token_us"], answer.times["last_token_us"]) == (10, 20)


def test_times_are_kept_through_a_coding() -> None:
    compressor = zlib.compressobj(wbits=31)
    chunks = []
    for at_us in (10, 20, 30):
        chunks.append((at_us, compressor.compress(event('"content":"A"')) + compressor.flush(zlib.Z_SYNC_FLUSH)))
    answer = read_response(
        CHAT, [*chunks, (40, compressor.flush())], content_type="text/event-stream", content_encoding="gzip"
    )
    assert answer.event_offsets_us == [10, 20, 30]


@pytest.mark.parametrize(
    ("delta", "sizes"),
    [
        pytest.param('"content":[{"type":"text","text":"Yes"}]', (3, 0, 0), id="content in parts"),
        pytest.param('"content":[{"type":"thinking","thinking":[{"text":"Hm"}]}]', (0, 2, 0), id="thinking in parts"),
        pytest.param('"reasoning":"Hm","reasoning_content":"Hm"', (0, 2, 0), id="reasoning said twice"),
        pytest.param('"reasoning_details":[{"type":"reasoning.text","text":"Hm"}]', (0, 2, 0), id="details alone"),
        pytest.param('"refusal":"No"', (2, 0, 0), id="refusal"),
        pytest.param('"audio":{"transcript":"Yes"}', (3, 0, 0), id="audio"),
        pytest.param('"function_call":{"name":"f","arguments":"{"}', (0, 0, 2), id="function call"),
        pytest.param('"tool_calls":[{"custom":{"input":"SELECT"}}]', (0, 0, 6), id="custom tool"),
        pytest.param('"role":"assistant","content":null', (0, 0, 0), id="nothing said"),
    ],
)
def test_characters_are_counted_by_kind(delta: str, sizes: tuple[int, int, int]) -> None:
    answer = read_response(CHAT, [(7, event(delta))], content_type="text/event-stream")
    assert answer.event_sizes == [sum(sizes)]
    kinds = ("first_content_us", "first_reasoning_us", "first_tool_call_us")
    assert [answer.times.get(kind) for kind in kinds] == [7 if size else None for size in sizes]


@pytest.mark.parametrize(
    ("name", "reports", "values"),
    [
        ("usage_absent", 0, 0),
        ("usage_null", 0, 0),
        ("usage_chunk_with_empty_choices", 1, 1),
        ("usage_in_every_chunk", 4, 2),
        ("usage_zero_at_first", 2, 2),
        ("json_completion", 1, 1),
    ],
)
def test_usage_reports_are_counted(name: str, reports: int, values: int) -> None:
    path = (DATA / "streams") / f"{name}.sse"
    answer = read(one_chunk(path.read_bytes()), path)
    assert (answer.usage_reports, answer.usage_values) == (reports, values)


LONG_BODIES: dict[str, Callable[[], bytes]] = {
    "short events": lambda: event('"content":"word "') * 60_000,
    "one long event": lambda: event('"content":"' + "word " * 1_000_000 + '"'),
    "no end of a line": lambda: b"data: " + b"x" * 5_000_000,
    "blanks": lambda: b"\n " * 2_500_000,
    "comments": lambda: b": keep-alive\n\n" * 350_000,
    "fields without value": lambda: b"data\n" * 1_000_000,
    "tool calls": lambda: b"".join(
        event(f'"tool_calls":[{{"index":{n},"id":"c{n}","function":{{"name":"f","arguments":"{{}}"}}}}]')
        for n in range(45_000)
    ),
    "arguments": lambda: event('"tool_calls":[{"function":{"name":"f","arguments":"}"}}]') * 45_000,
    "parts": lambda: event('"content":[{"type":"text","text":"word "}]') * 60_000,
    "log probabilities": lambda: event("", ',"logprobs":{"content":[{"token":"a","logprob":-0.5}]}') * 45_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG_BODIES)
def test_five_megabytes_in_small_chunks_take_seconds(name: str) -> None:
    body = LONG_BODIES[name]()
    chunks = [(start, body[start : start + 64]) for start in range(0, len(body), 64)]
    began = time.perf_counter()
    read_response(CHAT, chunks, content_type="text/event-stream")
    assert time.perf_counter() - began < 20
