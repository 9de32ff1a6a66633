"""What strangers put on the wire to do harm: the client reads it as it was sent, it is recorded, and nothing else comes
of it. What is made of it in reports is `test_hostile.py`'s.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tapeline.pipeline.demo import JsonObject
from tapeline.pipeline.reports.definition import all_reports
from tapeline.pipeline.wire.json_text import loads
from tests.support.clients.wire import DONE, FINISH, KEY, PATH, ask, chat, event, open_road, read_all
from tests.support.processes.recorder import RunningRecorder, query, tapeline_here
from tests.support.servers.scripted import Conversation, ScriptedServer

pytestmark = pytest.mark.slow

DEPTH = 100_000
DEEP = b'{"a":[' * (DEPTH // 2) + b"1" + b"]}" * (DEPTH // 2)
DIGITS = b"7" * 10_000
# Half a pair at the beginning and at the end; a whole one in two events is a character.
HALVES = "\\udc00 and \\ud83d"


def completion(content: str = '"Hi"', more: str = "") -> bytes:
    """An answer, its content and further fields spelled as they are to stand in the JSON."""
    message = f'{{"role":"assistant","content":{content}}}'
    return f'{{"id":"c","choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}]{more}}}'.encode()


def delta(content: bytes) -> bytes:
    return b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":%b}}]}\n\n' % content


@dataclass(frozen=True)
class Case:
    """What is asked and answered, and what is to be found of it."""

    asked: bytes
    answered: bytes
    outcome: str
    content: str | None = "Hi"
    problems: int = 0
    #: What `show --json` has of request and answer, if it is not what was sent.
    request: Any = None
    response: Any = None

    @property
    def streamed(self) -> bool:
        return self.answered.startswith(b"data:")


def as_text(body: bytes) -> str:
    return body.decode()


CASES = {
    "depth": Case(DEEP, DEEP, "invalid", None, request=as_text(DEEP), response=as_text(DEEP)),
    "depth that never ends": Case(
        b"[" * DEPTH, b"[" * DEPTH, "invalid", None, request="[" * DEPTH, response="[" * DEPTH
    ),
    "depth in one event": Case(
        chat(stream=True), event("H") + b"data: " + DEEP + b"\n\n" + event("i") + FINISH + DONE, "complete", problems=1
    ),
    "depth in an error": Case(
        chat(), b'{"error":' + DEEP + b"}", "invalid", None, response=as_text(b'{"error":' + DEEP + b"}")
    ),
    "digits": Case(
        b'{"model":"m","seed":%b,"temperature":%b,"max_tokens":-%b,"messages":[{"role":"user","content":%b}]}'
        % (DIGITS, DIGITS, DIGITS, DIGITS),
        completion(
            more=f',"created":{as_text(DIGITS)},"usage":{{"prompt_tokens":{as_text(DIGITS)},"cost":1e-999999999}}'
        ),
        "complete",
    ),
    "exponents": Case(
        b'{"model":"m","seed":1e999999999,"temperature":1e400,"n":-1e999999999}',
        completion(more=',"created":1e999999999,"usage":{"prompt_tokens":1e999999999,"completion_tokens":1e308}'),
        "complete",
    ),
    "keys said twice": Case(
        b'{"model":"a","model":"b","messages":[],"messages":[{"role":"user","content":"x","content":"y"}]}',
        completion('"No","content":"Hi"', ',"model":"a","model":"b"'),
        "complete",
    ),
    "halves of surrogate pairs": Case(
        b'{"model":"\\ud800","messages":[{"role":"user","content":"\\udc00\\ud800"}],"\\ud800":"\\udfff"}',
        completion(f'"{HALVES}"', ',"model":"\\ud800","\\ud800":"\\udfff"'),
        "complete",
        "\ufffd and \ufffd",
    ),
    "a surrogate pair in two events": Case(
        chat(stream=True), delta(b'"\\ud83d"') + delta(b'"\\ude00"') + FINISH + DONE, "complete", "😀"
    ),
    "NUL": Case(
        b'{"model":"a\\u0000b","messages":[{"role":"user","content":"\\u0000"}],"\\u0000":"\\u0000"}',
        completion('"H\\u0000i"', ',"model":"\\u0000","\\u0000":"\\u0000"'),
        "complete",
        "H\0i",
    ),
    "NUL as it is": Case(
        b'{"model":"a\0b"}',
        b'{"choices":"\0"}',
        "invalid",
        None,
        request='{"model":"a\0b"}',
        response='{"choices":"\0"}',
    ),
    "constants that are no JSON": Case(
        b'{"temperature":NaN}',
        b'{"choices":[Infinity]}',
        "invalid",
        None,
        request='{"temperature":NaN}',
        response='{"choices":[Infinity]}',
    ),
}


@dataclass
class Met:
    """What both sides read, the row, and what is shown of it."""

    received: bytes = b""
    read: tuple[int, bytes] = (0, b"")
    row: JsonObject = field(default_factory=dict)
    shown: Any = None
    data: Path = Path()


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> dict[str, Met]:
    """Every case, over one connection after the other."""
    data = tmp_path_factory.mktemp("recordings")
    found = {name: Met(data=data) for name in CASES}

    def answer(conversation: Conversation) -> None:
        name = conversation.headers["User-Agent"]
        found[name].received = conversation.read_body()
        kind = "text/event-stream" if CASES[name].streamed else "application/json"
        conversation.answer(CASES[name].answered, kind)

    with open_road("plain", data, answer, authority) as road:
        for name, case in CASES.items():
            connection = road.connect()
            found[name].read = ask(connection, case.asked, **{"User-Agent": name})
            connection.close()
    for row in query(data, "SELECT * EXCLUDE (request_text, response_text) FROM exchanges"):
        found[row["user_agent"]].row = row
    for one in found.values():
        result = tapeline_here("show", one.row["exchange_id"], "--json", "--data", data)
        assert result.returncode == 0, result.stderr
        one.shown = loads(result.stdout)
    return found


@pytest.mark.parametrize("name", CASES)
def test_both_sides_read_what_was_sent(met: dict[str, Met], name: str) -> None:
    assert met[name].received == CASES[name].asked
    assert met[name].read == (200, CASES[name].answered)


@pytest.mark.parametrize("name", CASES)
def test_the_outcome_says_what_could_be_read(met: dict[str, Met], name: str) -> None:
    row, case = met[name].row, CASES[name]
    content = row["choices"][0]["content"] if row["choices"] else None
    assert (row["outcome"], content, len(row["reassembly_problems"])) == (case.outcome, case.content, case.problems)


@pytest.mark.parametrize("name", CASES)
def test_what_was_sent_is_shown(met: dict[str, Met], name: str) -> None:
    shown, case = met[name].shown, CASES[name]
    assert shown["request"] == (case.request or loads(case.asked))
    if not case.streamed:
        assert shown["response"] == (case.response or loads(case.answered))


def test_figures_that_cannot_be_are_not_made_up(met: dict[str, Met]) -> None:
    assert met["digits"].row["seed"] is None
    assert met["digits"].row["prompt_tokens"] is None
    assert met["digits"].shown["response"]["usage"]["prompt_tokens"] == Decimal(as_text(DIGITS))
    assert (met["exponents"].row["temperature"], met["exponents"].row["n"]) == (None, None)


def test_every_report_stands_it(met: dict[str, Met]) -> None:
    data = met["depth"].data
    for report in all_reports():
        for form in ("table", "json", "csv", "markdown", "html"):
            other = ("--model", "openai/gpt-4o") if report.compares_prices else ()
            result = tapeline_here("report", report.name, *other, "--format", form, "--data", data)
            assert result.returncode == 0, (report.name, form, result.stderr)
    for one in met.values():
        assert tapeline_here("show", one.row["exchange_id"], "--data", data).returncode == 0


TOP_LEVEL = {
    ".gitignore",
    "ca",
    "content",
    "exchanges",
    "journal",
    "load.lock",
    "losses",
    "salt",
    "seal.lock",
    "seal.log",
    "warehouse.duckdb",
}
RUNS = ["../../../escaped/\x1b]0;owned\x07\nsecond line", "x" * 5_000, "a\\..\\b $(touch escaped)"]


@pytest.mark.parametrize("run", [*RUNS, "absolute"], ids=lambda run: run[:12].encode("unicode_escape").decode())
def test_the_name_of_a_run_is_no_path(run: str, tmp_path: Path) -> None:
    """It is a label, and stands in no file's name."""
    data = tmp_path / "a" / "b" / "recordings"
    run = str(tmp_path / "escaped") if run == "absolute" else run
    body = b'{"id":"c","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}'

    def answer(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.answer(body)

    with (
        ScriptedServer(answer) as server,
        RunningRecorder(data, "--upstream", server.url, f"--run={run}") as recorder,
        recorder.connect() as connection,
    ):
        head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nAuthorization: {KEY}\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: {len(chat())}\r\n\r\n".encode() + chat())
        assert read_all(connection).endswith(body)
    assert query(data, "SELECT run, outcome FROM exchanges") == [{"run": run, "outcome": "complete"}]
    assert not {"\x1b", "\x07"} & set(recorder.said)
    out = tapeline_here("report", "overview", f"--run={run}", "--format", "json", "--data", data).stdout
    assert json.loads(out)["coverage"]["calls"] == 1
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and data not in path.parents]
    inside = {path.relative_to(data).parts[0] for path in data.rglob("*")}
    assert outside == []
    assert inside <= TOP_LEVEL
    assert not Path("escaped").exists()
