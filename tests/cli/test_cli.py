"""The command line: its output on stdout and stderr, and its exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.journals.journals import NOON_US, MadeUp, make_journal
from tests.support.processes.recorder import TAPELINE, clean_environment, tapeline, tapeline_here


@pytest.fixture
def recorded(data: Path) -> Path:
    """Return a data directory with three exchanges of two models in run-1."""
    long = MadeUp(content="Longer", model="gpt-4.1", text="Cut", finish_reason="length", usage=None)
    make_journal(data, [MadeUp(), MadeUp(content="Again", started_at_us=NOON_US + 1000), long])
    return data


def assert_one_clear_line(result: CompletedProcess[str], code: int, *words: str) -> None:
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    for word in words:
        assert word in errors[0]


WRONG = {
    "an unknown option": (["report", "--nonsense"], "--nonsense"),
    "an unknown command": (["explode"], "explode"),
    "an unknown format": (["report", "usage", "--format", "xml"], "xml"),
    "an unknown report": (["report", "nonsense"], "nonsense"),
    "an unknown run": (["report", "usage", "--run", "nonsense"], "run-1"),
    "a time that cannot be read": (["report", "usage", "--since", "yesterday"], "yesterday"),
    "an unknown exchange": (["show", "ffffffff"], "ffffffff"),
    "SQL that does not parse": (["sql", "SELEKT 1"], "SELEKT"),
    "SQL that would write": (["sql", "DELETE FROM stored.exchanges"], "read-only"),
    "an unknown mode": (["record", "--mode", "sideways"], "sideways"),
    "an upstream that is not a URL": (["record", "--upstream", "ftp://x"], "ftp://x"),
    "a port for two modes": (["record", "-p", "1234", "--mode", "regular", "--mode", "socks5"], "1234"),
    "an unknown program": (["record", "--", "no-such-command"], "no-such-command"),
    "an unknown mitmproxy option": (["record", "--set", "nonsense=1", "--", "true"], "nonsense"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_gets_one_clear_line_and_exit_code_2(recorded: Path, name: str) -> None:
    (command, *rest), word = WRONG[name]
    run = tapeline if command == "record" else tapeline_here
    assert_one_clear_line(run(command, "--data", recorded, *rest), 2, word)


def test_a_missing_data_directory_is_named(data: Path) -> None:
    for command in ("report", "load"):
        assert_one_clear_line(tapeline_here(command, "--data", data), 2, str(data), "--data")


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = tapeline("record", "--data", tmp_path / "file" / "inside", "--", "true")
    assert_one_clear_line(result, 2, "--data")


@pytest.mark.slow
def test_a_busy_port_is_named(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        result = tapeline("record", "--data", data, "-p", str(port), "--", "true")
    assert_one_clear_line(result, 2, str(port))


def test_a_report_without_a_name_lists_the_reports_and_shows_an_overview(recorded: Path) -> None:
    result = tapeline_here("report", "--data", recorded)
    assert result.returncode == 0
    assert result.stderr == ""
    for name in ("usage", "latency", "finish-reasons", "errors"):
        assert f"\n{name} " in f"\n{result.stdout}"
    assert "gpt-4o-mini" in result.stdout
    assert "3 calls from 2026-11-21 10:00" in result.stdout


def test_json_is_complete_and_stable(recorded: Path) -> None:
    document = json.loads(tapeline_here("report", "usage", "--data", recorded, "--format", "json").stdout)
    assert list(document) == ["report", "filters", "params", "coverage", "rows"]
    assert document["coverage"]["usage_reported"] == 2
    assert document["rows"] == [
        {
            "day": "2026-11-21",
            "model": "gpt-4.1",
            "calls": 1,
            "reported": 0,
            "prompt_tokens": None,
            "cached_tokens": None,
            "completion_tokens": None,
            "reasoning_tokens": None,
            "total_tokens": None,
        },
        {
            "day": "2026-11-21",
            "model": "gpt-4o-mini",
            "calls": 2,
            "reported": 2,
            "prompt_tokens": 6,
            "cached_tokens": None,
            "completion_tokens": 4,
            "reasoning_tokens": None,
            "total_tokens": None,
        },
    ]


def test_filters_select_the_calls(recorded: Path) -> None:
    def calls(*options: str) -> list[tuple[str, int]]:
        out = tapeline_here("report", "usage", "--data", recorded, "--format", "json", *options).stdout
        return [(row["model"], row["calls"]) for row in json.loads(out)["rows"]]

    assert calls("--model", "gpt-4o*") == [("gpt-4o-mini", 2)]
    assert calls("--model", "gpt-4.1", "--provider", "openai", "--run", "run-1") == [("gpt-4.1", 1)]
    assert calls("--since", "2026-11-21T10:00:01") == []
    assert calls("--until", "2026-11-21T10:00:01", "--since", "2026-11-21") == [("gpt-4.1", 1), ("gpt-4o-mini", 2)]
    assert calls("--provider", "'; DROP TABLE stored.exchanges; --") == []


def test_only_the_star_is_a_wildcard(data: Path) -> None:
    names = ("claude-4[1m]", "claude-41", "claude-4m", "team\\model[?]", "teamXmodel?")
    make_journal(data, [MadeUp(model=name) for name in names])

    def models(pattern: str) -> list[str]:
        out = tapeline_here("report", "usage", "--data", data, "--format", "json", "--model", pattern).stdout
        return [row["model"] for row in json.loads(out)["rows"]]

    assert models("claude-4[1m]") == ["claude-4[1m]"]
    assert models("*[1m]") == ["claude-4[1m]"]
    assert models("claude-4?") == []
    assert len(models("claude-4*")) == 3
    assert models("team\\model[?]") == ["team\\model[?]"]


def test_values_that_json_lacks_become_text(recorded: Path) -> None:
    sql = "SELECT INTERVAL 1 DAY AS i, 'nan'::DOUBLE AS n, ['-inf'::DOUBLE] AS f"
    out = tapeline_here("sql", sql, "--data", recorded, "--format", "json").stdout
    assert json.loads(out)["rows"] == [{"i": "1 day, 0:00:00", "n": "nan", "f": ["-inf"]}]


def test_csv_and_markdown(recorded: Path) -> None:
    printed = tapeline_here("report", "usage", "--data", recorded, "--format", "csv")
    assert "3 calls from" in printed.stderr
    lines = tapeline_here("report", "finish-reasons", "--data", recorded, "--format", "csv").stdout.splitlines()
    assert lines[0] == "model,finish_reason,choices,share,calls"
    assert lines[1:] == ["gpt-4.1,length,1,1.0,1", "gpt-4o-mini,stop,2,1.0,2"]
    markdown = tapeline_here("report", "finish-reasons", "--data", recorded, "--format", "markdown").stdout
    assert "| model | finish reason | choices | share | calls |\n|---|---|---:|---:|---:|" in markdown
    assert "| gpt-4o-mini | stop | 2 | 100.0 % | 2 |" in markdown


def test_output_goes_to_a_file_and_a_note_to_stderr(recorded: Path, tmp_path: Path) -> None:
    target = tmp_path / "usage.csv"
    result = tapeline_here("report", "usage", "--data", recorded, "--format", "csv", "-o", target)
    assert (result.returncode, result.stdout) == (0, "")
    assert str(target) in result.stderr
    assert target.read_text().startswith("day,model,")


def test_a_page_without_calls_says_so(recorded: Path) -> None:
    shown = tapeline_here("report", "--data", recorded, "--format", "html", "--model", "nobody").stdout
    assert "No call matches; nothing known to be lost." in shown
    assert '<p class="filter"><b>model</b> nobody</p>' in shown


def test_a_closed_pipe_is_not_a_failure(recorded: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [*TAPELINE, "report", "--data", str(recorded)]
    with os.fdopen(writer, "wb") as stdout:
        ended = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_load_prints_what_it_did(recorded: Path) -> None:
    first = tapeline_here("load", "--data", recorded)
    assert first.stdout.splitlines() == [
        "sealed: 3 exchanges in 1 batches of 1 recorders",
        "loaded: 3 exchanges from 2 files",
    ]
    assert "loaded: 0 exchanges" in tapeline_here("load", "--data", recorded).stdout


def test_runs_tail_and_show(recorded: Path) -> None:
    assert "run-1" in tapeline_here("runs", "--data", recorded).stdout
    lines = tapeline_here("tail", "--no-follow", "-n", "3", "--data", recorded).stdout.splitlines()
    assert len(lines) == 4
    exchange_id = lines[3].split()[1]
    shown = tapeline_here("show", exchange_id, "--data", recorded).stdout
    assert "user: Again" in shown
    assert "Hi." in shown
    document = json.loads(tapeline_here("show", exchange_id, "--json", "--data", recorded).stdout)
    assert document["request"]["messages"] == [{"role": "user", "content": "Again"}]
    assert document["response"]["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}


def test_doctor_names_the_reassembly_problems(data: Path) -> None:
    broken = [MadeUp(body=f"data: {{}}\n\ndata: {text}\n\n".encode()) for text in ("[1]", "[2]", "3")]
    make_journal(data, [MadeUp(), *broken])
    tapeline_here("load", "--data", data)
    findings = json.loads(tapeline_here("doctor", "--json", "--data", data).stdout)
    (state,) = (finding["state"] for finding in findings if finding["what"] == "reassembly")
    assert state.startswith("3 exchanges: event # is not a JSON object (for one, `tapeline show ")
    assert {"4 loaded, 3 not reassembled without loss"} <= {finding["state"] for finding in findings}


def test_doctor_prints_the_state_of_the_data_directory(recorded: Path) -> None:
    before = tapeline_here("doctor", "--data", recorded).stdout
    assert "stopped, 3 finished and 0 open exchanges to seal" in before
    tapeline_here("load", "--data", recorded)
    findings = json.loads(tapeline_here("doctor", "--json", "--data", recorded).stdout)
    states = {finding["what"]: finding["state"] for finding in findings}
    assert states["exchanges"].startswith("3 loaded")
    assert states[str(recorded)] == "private"


def test_the_data_directory_comes_from_the_environment(recorded: Path) -> None:
    assert tapeline("runs", environment=clean_environment(TAPELINE_DATA=str(recorded))).returncode == 0


def test_every_command_has_help() -> None:
    listed = tapeline_here("--help").stdout
    for command in (
        "demo",
        "record",
        "load",
        "report",
        "runs",
        "diff",
        "show",
        "tail",
        "sql",
        "replay",
        "serve",
        "doctor",
    ):
        assert f"\n  {command} " in listed
        result = tapeline_here(command, "--help")
        assert result.returncode == 0
        assert result.stdout.startswith(f"Usage: tapeline {command}")
