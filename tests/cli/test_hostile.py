"""Hostile recorded text does nothing to its readers: terminals, spreadsheets, Markdown pages and queries.

The journals are made up; `tests/traffic/test_hostile.py` sends hostile text over a real wire.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import pty
import re
import subprocess
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.proxy.runner import log_to_stderr
from tapeline.pipeline.reports.definition import all_reports
from tests.support.journals.captured import broken_off
from tests.support.journals.journals import NOON_US, MadeUp, make_journal
from tests.support.processes.recorder import TAPELINE, clean_environment, query, shown, tapeline_here

pytestmark = pytest.mark.slow

FORMATS = ("table", "json", "csv", "markdown")
REPORTS = [report.name for report in all_reports()]

# Sets the window's title and colours, clears the screen, writes to the clipboard, moves the cursor, reverses text.
CONTROLS = "\x1b]0;owned\x07\x1b[31mred\x9b2J\x1b]52;c;aGk=\x1b\\\r\x1b[A\x08\x7f\u202egnp.exe\u2066\u200f\u061c"
CONTROL_CHARACTERS = {*map(chr, (*range(9), *range(11, 32), *range(127, 160)))} | {
    *map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
}


def everywhere(text: str) -> list[MadeUp]:
    """Return exchanges that have a text in every place that a client or a provider controls."""
    call = {"id": text, "type": text, "function": {"name": text, "arguments": text}}
    message = {"role": text, "content": text, "reasoning": text, "refusal": text, "tool_calls": [call], text: text}
    choice = {"index": 0, "message": message, "finish_reason": text, text: text}
    completion = {"id": text, "model": text, "system_fingerprint": text, "choices": [choice], "usage": {text: text}}
    request = {"model": text, "user": text, "messages": [message], "tools": [call], "stop": [text], text: text}
    error = dict.fromkeys(("message", "type", "code", "param"), text)
    head = {"host": f"{text}.example", "path": f"/{text}", "run": text, "http_version": text}
    named = [["user-agent", text], ["x-request-id", text]]

    def exchange_of(asked: Any, body: Any, status: int = 200, coding: str = "") -> MadeUp:
        headers = [*named, ["content-encoding", coding]]
        return MadeUp(
            asked=as_bytes(asked),
            body=as_bytes(body),
            status=status,
            headers=headers,
            head=head | {"headers": headers},
            ending=broken_off(error=text),
        )

    exchanges = [
        exchange_of(request, completion),
        exchange_of(request, {"error": error}, status=400),
        exchange_of({"messages": text}, f"data: {text}\n\ndata: {json.dumps({text: text})}\n\n"),
        exchange_of(text, text),
        exchange_of([text], {"choices": text}),
        exchange_of(request, completion, coding=text),
    ]
    for number, exchange in enumerate(exchanges):
        exchange.started_at_us += number
    return exchanges


def as_bytes(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def ids(data: Path) -> list[str]:
    return [
        row["exchange_id"] for row in query(data, "SELECT exchange_id FROM exchanges ORDER BY started_at, exchange_id")
    ]


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording full of control sequences."""
    name = CONTROLS.replace("\\", "")
    data = tmp_path_factory.mktemp("acting") / name
    make_journal(data, everywhere(CONTROLS), run=CONTROLS)
    tapeline_here("load", "--data", data)
    DataDirectory(data).journal(name).write_bytes(b"no journal" * 100)
    return data


COMMANDS = [
    ["doctor"],
    ["doctor", "--json"],
    ["tail", "--no-follow"],
    ["report"],
    ["report", "usage", "--run", "nonsense"],
    ["sql", f"SELECT 1 AS {CONTROLS}"],
    *(["runs", "--format", name] for name in FORMATS if name != "csv"),
    *(["sql", "SELECT * FROM exchanges", "--format", name] for name in FORMATS if name != "csv"),
    *(["sql", f'SELECT model AS "{CONTROLS}" FROM exchanges', "--format", name] for name in FORMATS if name != "csv"),
    *(["report", name, "--format", name] for name in REPORTS for name in FORMATS if name != "csv"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command).encode("unicode_escape").decode())
def test_no_command_prints_control_characters(acting: Path, command: list[str]) -> None:
    result = tapeline_here(*command, "--data", acting)
    assert CONTROL_CHARACTERS & set(result.stdout + result.stderr) == set()


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_show_prints_no_control_characters(acting: Path, options: list[str]) -> None:
    exchange_ids = ids(acting)
    assert len(exchange_ids) == len(everywhere(""))
    for exchange_id in exchange_ids:
        out = tapeline_here("show", exchange_id, *options, "--data", acting).stdout
        assert re.search(r"\\(x1b|u001b)\[31mred\\(x9b|u009b)2J", out)
        assert CONTROL_CHARACTERS & set(out) == set()


def test_json_holds_the_original_text(acting: Path) -> None:
    first = shown(acting, ids(acting)[0])
    assert first["request"]["model"] == CONTROLS
    assert first["response"]["choices"][0]["message"]["content"] == CONTROLS
    assert query(acting, "SELECT DISTINCT run FROM exchanges") == [{"run": CONTROLS}]


def test_csv_is_escaped_only_on_a_terminal(acting: Path) -> None:
    arguments = ["sql", "SELECT DISTINCT run FROM exchanges", "--format", "csv", "--data", str(acting)]
    assert list(csv.reader(StringIO(tapeline_here(*arguments).stdout, newline=""))) == [["run"], [CONTROLS]]
    ours, terminal = pty.openpty()
    try:
        command = [*TAPELINE, *arguments]
        subprocess.run(command, stdout=terminal, env=clean_environment(), timeout=60, check=True)
        printed = os.read(ours, 10_000).decode()
    finally:
        os.close(terminal)
        os.close(ours)
    # The terminal's own line ends are \r\n.
    assert CONTROL_CHARACTERS & set(printed.replace("\r\n", "\n")) == set()
    assert "\\x1b[31mred" in printed


def test_the_recorders_log_prints_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger()
    before = list(logger.handlers)
    log_to_stderr()
    try:
        logger.warning("mitmproxy quotes %s\nas it likes", CONTROLS)
    finally:
        for handler in set(logger.handlers) - set(before):
            logger.removeHandler(handler)
    printed = capsys.readouterr().err
    assert printed.startswith("tapeline: mitmproxy quotes \\x1b")
    assert printed.count("\n") == 1
    assert CONTROL_CHARACTERS & set(printed) == set()


FORGED = "Hi\nhow       status 200, complete\n\ntiming, ms\n  end               0.0\nanswer    finish reason stop"
HEADINGS = [
    *("exchange", "when", "where", "how", "goes", "error", "usage", "cost", "reported"),
    *("problem", "request", "answer", "timing,"),
]


def test_recorded_text_cannot_forge_a_line_of_show(data: Path) -> None:
    make_journal(data, everywhere(FORGED))
    for exchange_id in ids(data):
        lines = tapeline_here("show", exchange_id, "--data", data).stdout.splitlines()
        headings = [line.split()[0] for line in lines if line and not line[0].isspace()]
        # There may be several problems.
        assert [name for name, _ in groupby(headings)] == [name for name in HEADINGS if name in headings]
        assert sum(line.startswith("  end  ") for line in lines) == 1


@pytest.mark.parametrize("messages", [None, 5, "Hi", {"a": 1}])
def test_messages_that_are_not_a_list_are_shown_as_they_are(data: Path, messages: Any) -> None:
    make_journal(data, [MadeUp(asked=json.dumps({"messages": messages}).encode())])
    (exchange_id,) = ids(data)
    out = tapeline_here("show", exchange_id, "--data", data).stdout
    assert f"request   {json.dumps({'messages': messages}, separators=(',', ':'))}" in out.splitlines()


FORMULAS = [f"{start}1+1" for start in "=+-@\t\r\n＝＋－＠"]


def test_csv_has_no_formulas(data: Path) -> None:
    make_journal(data, [MadeUp(model=formula) for formula in FORMULAS])
    out = tapeline_here("report", "overview", "--data", data, "--format", "csv").stdout
    cells = [row[0] for row in csv.reader(StringIO(out, newline=""))][1:]
    assert sorted(cells) == sorted(f"'{formula}" for formula in FORMULAS)


def test_a_csv_heading_is_not_a_formula_and_a_number_stays_a_number(data: Path) -> None:
    make_journal(data, [MadeUp()])
    sql = 'SELECT -1 AS "=1+1", -0.5 AS "@a", \'a=b\' AS text, [-1] AS list'
    out = tapeline_here("sql", sql, "--data", data, "--format", "csv").stdout
    assert list(csv.reader(StringIO(out))) == [["'=1+1", "'@a", "text", "list"], ["-1", "-0.5", "a=b", "[-1]"]]


PAGE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![image](http://x.test/a.png)",
    "[link](javascript:alert(1))",
    "<http://x.test/>",
    "&lt;b&gt; &#60;",
    "`code` **bold** ~~gone~~ $x$",
    "a | b\n\n# Heading\n\n- item",
    "\\",
)


def test_markdown_shows_recorded_text_without_interpreting_it(data: Path) -> None:
    make_journal(data, [MadeUp(model=text) for text in PAGE])
    out = tapeline_here("report", "overview", "--data", data, "--format", "markdown").stdout
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(out)
    assert set(re.findall(r"<(\w+)", html)) == {"h3", "table", "thead", "tbody", "tr", "th", "td", "p"}
    tokens = MarkdownIt("commonmark").enable("table").parse(out)
    cells = ["".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"]
    assert {text.replace("\n", "⏎") for text in PAGE} <= set(cells)


INJECTIONS = [
    "'; DROP TABLE stored.exchanges; --",
    "' OR '1'='1",
    '"; DELETE FROM stored.exchanges; --',
    "$value",
    "getvariable('run')",
    "%s {0} {model} :model ?",
    "a\\' OR 1=1 --",
]


def test_a_name_is_never_sql(data: Path) -> None:
    make_journal(data, [MadeUp(model=name, content=name, head={"run": name}) for name in INJECTIONS])
    for option in ("model", "run"):
        for name in INJECTIONS:
            out = tapeline_here("report", "overview", f"--{option}", name, "--data", data, "--format", "json").stdout
            assert [row["model"] for row in json.loads(out)["rows"]] == [name]
    for name in INJECTIONS:
        assert tapeline_here("show", name, "--data", data).returncode == 2
        assert tapeline_here("report", "overview", "--provider", name, "--data", data).returncode == 0
    assert len(ids(data)) == len(INJECTIONS)


NOT_UTF8 = os.fsdecode(b"a\xff")


@pytest.mark.parametrize(
    "command",
    [
        ["report", "usage", "--run", NOT_UTF8],
        ["show", NOT_UTF8],
        ["sql", NOT_UTF8],
        ["record", "--run", NOT_UTF8],
        ["diff", NOT_UTF8, "b"],
        ["serve", NOT_UTF8],
        ["replay", NOT_UTF8, "--upstream", "http://127.0.0.1:9/v1"],
        ["replay", "a", "--upstream", "http://127.0.0.1:9/v1", "--run", NOT_UTF8],
        ["replay", "a", "--upstream", "http://127.0.0.1:9/v1", "--model", NOT_UTF8],
    ],
    ids=" ".join,
)
def test_an_argument_that_is_not_utf8_is_refused_in_one_line(data: Path, command: list[str]) -> None:
    result = tapeline_here(*command, "--data", data)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith(r"'a\udcff' is no UTF-8.")


def test_a_folder_name_that_is_not_utf8_is_refused(data: Path) -> None:
    result = tapeline_here("report", "--data", data / NOT_UTF8)
    assert result.returncode == 2
    assert "is no UTF-8" in result.stderr


def test_huge_token_counts_break_no_report(data: Path) -> None:
    most = 2**63 - 1
    names = ("prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens")
    usage: dict[str, Any] = dict.fromkeys(names, most) | {"prompt_tokens_details": {"cached_tokens": most}}
    messages = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hi."}]
    continuation = MadeUp(usage=usage, messages=[*messages, messages[0]], started_at_us=NOON_US + 1_000_000)
    make_journal(data, [MadeUp(usage=usage), continuation])
    for name in REPORTS:
        options = ("--model", "openai/gpt-4o") if name == "what-if" else ()
        result = tapeline_here("report", name, "--data", data, "--format", "json", *options)
        assert result.returncode == 0, result.stderr
    for name in ("overview", "usage", "conversations"):
        (row,) = json.loads(tapeline_here("report", name, "--data", data, "--format", "json").stdout)["rows"]
        assert row["prompt_tokens"] == 2 * most
