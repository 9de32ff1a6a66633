"""Reports of the user's own: a file in a folder is a report with help, parameters, forms and charts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tapeline.pipeline.reports.definition import all_reports, read_report
from tests.support.journals.journals import MadeUp, make_journal
from tests.support.journals.streamed import said
from tests.support.places import ROOT
from tests.support.processes.recorder import tapeline_here

pytestmark = pytest.mark.slow

LONG_PROMPTS = """\
-- Prompts of many tokens, by model.
--
-- Tokens are those that the provider reported.
-- param: least = 100 -- Prompts of so many tokens or more.
-- chart: bar x=calls y=model title="Long prompts"
SELECT model, count(*) AS calls
FROM exchanges
WHERE prompt_tokens >= $least
GROUP BY model
ORDER BY model
"""


@pytest.fixture
def recorded(data: Path) -> Path:
    usages = [{"prompt_tokens": tokens, "completion_tokens": 1} for tokens in (50, 150, 250)]
    make_journal(data, [MadeUp(usage=usage) for usage in usages])
    return data


@pytest.fixture
def own(recorded: Path) -> Path:
    folder = recorded / "queries"
    folder.mkdir()
    (folder / "long-prompts.sql").write_text(LONG_PROMPTS)
    return folder


def test_the_documented_examples_are_reports(recorded: Path) -> None:
    text = (ROOT / "docs" / "reports.md").read_text("utf-8")
    section = text.partition("## Reports of your own")[2]
    names = re.findall(r"\(`([\w-]+)\.sql`\)", section)
    examples = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    assert len(names) == len(examples) == 3
    tool_call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{"}}
    calling = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [tool_call]}}
    prompt = {"prompt_tokens": 10_000, "completion_tokens": 1}
    streamed = said(20_000, 30_000)
    make_journal(recorded, [MadeUp(answered={"choices": [calling]}, usage=prompt), streamed], "recorder-2")
    (recorded / "queries").mkdir()
    for name, example in zip(names, examples, strict=True):
        (recorded / "queries" / f"{name}.sql").write_text(example)
    found = {
        name: json.loads(tapeline_here("report", name, "--data", recorded, "--format", "json").stdout)["rows"]
        for name in names
    }
    model = "gpt-4o-mini"
    assert found == {
        "tools": [{"tool": "look", "model": model, "calls": 1, "broken": 1}],
        "long-prompts": [{"user": None, "model": model, "calls": 1, "longest": 10_000, "cost_usd": 0.0015006}],
        "waits": [{"hour": "2026-11-21 10:00", "model": model, "streams": 1, "first_token_ms": 20}],
    }


def calls(recorded: Path, *options: str | Path) -> list[int]:
    result = tapeline_here("report", "long-prompts", "--data", recorded, "--format", "json", *options)
    assert result.returncode == 0, result.stderr
    return [row["calls"] for row in json.loads(result.stdout)["rows"]]


def complaint(*arguments: str | Path) -> str:
    """What is said of wrong use, in one line."""
    result = tapeline_here("report", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    return line


def test_a_file_in_the_data_directory_is_a_report(recorded: Path, own: Path) -> None:
    assert calls(recorded) == [2]
    assert calls(recorded, "--param", "least=200") == [1]
    assert calls(recorded, "--model", "other") == []
    assert "long-prompts" in tapeline_here("report", "--data", recorded).stdout


def test_a_folder_can_be_named_and_its_files_replace_what_is_built_in(recorded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "long-prompts.sql").write_text(LONG_PROMPTS)
    (folder / "usage.sql").write_text("-- Mine.\nSELECT 1 AS one;")
    assert calls(recorded, "--queries", folder) == [2]
    assert tapeline_here("report", "usage", "--data", recorded, "--queries", folder).stdout.startswith("Mine.")
    assert not tapeline_here("report", "usage", "--data", recorded).stdout.startswith("Mine.")


def test_a_report_tells_its_own_help(recorded: Path, own: Path) -> None:
    said = tapeline_here("report", "long-prompts", "--help", "--data", recorded).stdout
    assert said.startswith("Prompts of many tokens, by model.\n\nTokens are those that the provider reported.\n")
    assert "--param least=100  Prompts of so many tokens or more." in said
    assert str(own / "long-prompts.sql") in said.replace("\n", "")
    assert "chart:" not in said
    assert "--by groups by something else" in tapeline_here("report", "stalls", "--help", "--data", recorded).stdout


def test_every_form_of_output_takes_it(recorded: Path, own: Path) -> None:
    for form, line in (("csv", "gpt-4o-mini,2"), ("markdown", "| gpt-4o-mini | 2 |")):
        shown = tapeline_here("report", "long-prompts", "--data", recorded, "--format", form).stdout
        assert line in shown.splitlines()
    page = tapeline_here("report", "long-prompts", "--data", recorded, "--format", "html").stdout
    assert "Long prompts" in page


def test_what_a_parameter_cannot_be_is_said(recorded: Path, own: Path) -> None:
    data = ("--data", recorded)
    assert complaint("long-prompts", *data, "--param", "most=3").endswith("no parameter 'most'. It takes: least.")
    assert complaint("usage", *data, "--param", "most=3").endswith("no parameter 'most'. It takes none.")
    assert complaint("long-prompts", *data, "--param", "least=many").endswith("this is no number.")
    assert complaint("long-prompts", *data, "--param", "least").endswith("write NAME=VALUE.")
    (own / "by-user.sql").write_text("-- Of a user.\n-- param: who -- the user\nSELECT $who AS who")
    assert complaint("by-user", *data).endswith("needs --param who=..., the user.")
    shown = tapeline_here("report", "by-user", *data, "--param", "who='; DROP TABLE x --", "--format", "csv").stdout
    assert shown.splitlines()[1] == "'; DROP TABLE x --"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("no name", "SELECT 1", "Rename the file"),
        ("odd", "-- Odd.\n-- param: 1st = 2\nSELECT 1", "is no parameter"),
        ("latin", b"-- Caf\xe9.\nSELECT 1", "is no UTF-8"),
    ],
)
def test_a_file_that_is_no_report_is_named(recorded: Path, own: Path, name: str, text: str | bytes, said: str) -> None:
    (own / f"{name}.sql").write_bytes(text.encode() if isinstance(text, str) else text)
    assert said in complaint("usage", "--data", recorded)


@pytest.mark.parametrize(
    ("sql", "said"), [("SELECT nothing FROM exchanges", "nothing"), ("DROP VIEW exchanges", "read-only")]
)
def test_sql_that_fails_is_named_with_its_file(recorded: Path, own: Path, sql: str, said: str) -> None:
    (own / "wrong.sql").write_text(f"-- Wrong.\n{sql}")
    result = tapeline_here("report", "wrong", "--data", recorded)
    assert (result.returncode, result.stdout) == (3, "")
    assert str(own / "wrong.sql") in result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_page_is_not_opened_in_another_form(recorded: Path) -> None:
    said = complaint("usage", "--data", recorded, "--format", "csv", "--open")
    assert said.endswith("--open opens a page: leave --format csv out.")


def test_a_folder_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "what?").mkdir()
    result = tapeline_here("report", "usage", "--data", tmp_path / "what?")
    assert result.returncode == 2
    assert "DuckDB reads no files below a name with ?" in result.stderr


def test_a_chart_that_cannot_be_drawn_is_said(recorded: Path, own: Path) -> None:
    for line, words in (("bar x=calls", "is no chart"), ("bar x=calls y=nothing", "has no column 'nothing'")):
        (own / "wrong.sql").write_text(f"-- Wrong.\n-- chart: {line}\nSELECT 1 AS calls")
        assert words in complaint("wrong", "--data", recorded, "--format", "html")


def test_the_built_in_ones_say_what_they_take() -> None:
    for report in all_reports():
        assert report.title.endswith(".")
        assert "$" not in report.sql or report.params
        assert all(param.help and f"${param.name}" in report.sql for param in report.params)


def test_a_text_without_a_head_is_a_report_too() -> None:
    report = read_report("bare", "SELECT 1;\n")
    assert (report.title, report.help, report.sql) == ("bare", "", "SELECT 1")


@pytest.mark.parametrize("sql", ["", "-- Nothing but a title."])
def test_a_file_without_sql_is_named(recorded: Path, own: Path, sql: str) -> None:
    (own / "odd.sql").write_text(sql)
    for options in (("odd",), ("--format", "html")):
        assert complaint(*options, "--data", recorded).endswith(f"{own / 'odd.sql'} holds no SQL.")


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("modell", "'modell' is no group. There are: day, hour, model,"),
        ("day, model, host", "by takes one name, or two that differ"),
        ("day, day", "by takes one name, or two that differ"),
    ],
)
def test_a_head_that_groups_by_what_there_is_not_is_said(recorded: Path, own: Path, by: str, said: str) -> None:
    (own / "odd.sql").write_text(f"-- Odd.\n-- by: {by}\nSELECT group_1, group_2 FROM grouped")
    assert said in complaint("odd", "--data", recorded)


def test_a_total_may_stand_among_days(recorded: Path, own: Path) -> None:
    head = "-- Calls, and all of them.\n-- by: day\n"
    for total, spelled in (("NULL", None), ("'all days'", "all days")):
        sql = f"SELECT group_1, count(*) AS calls FROM grouped GROUP BY 1 UNION ALL SELECT {total}, 3 ORDER BY 1"
        (own / "total.sql").write_text(head + sql)
        found = json.loads(tapeline_here("report", "total", "--data", recorded, "--format", "json").stdout)["rows"]
        assert [row["day"] for row in found] == ["2026-11-21", spelled]


def test_the_mark_that_some_editors_put_first_is_no_part_of_the_head(recorded: Path, own: Path) -> None:
    (own / "long-prompts.sql").write_text(LONG_PROMPTS, "utf-8-sig")
    assert calls(recorded) == [2]


def test_hidden_files_are_no_reports(recorded: Path, own: Path) -> None:
    (own / ".#long-prompts.sql").symlink_to("somebody@host.1234")
    (own / "._long-prompts.sql").write_bytes(b"\0\5\x16\7")
    assert calls(recorded) == [2]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400"])
def test_a_parameter_is_no_infinite_number(recorded: Path, own: Path, number: str) -> None:
    assert complaint("long-prompts", "--data", recorded, "--param", f"least={number}").endswith("this is no number.")


@pytest.mark.parametrize("query", ["", " ; ", "/* nothing */"])
def test_a_query_without_sql_is_said(recorded: Path, query: str) -> None:
    result = tapeline_here("sql", query, "--data", recorded)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", "Error: The query holds no SQL.\n")
