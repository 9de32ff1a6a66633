"""Which prices hold for reports on money, when they are looked up, and what cannot be asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.pricing import stored_costs
from tapeline.pipeline.reports.definition import all_reports, find_report
from tests.support.journals.costs import CALLS, PRICED, document, money, rows
from tests.support.journals.journals import NOON_US, MadeUp, make_journal
from tests.support.processes.recorder import tapeline_here

pytestmark = pytest.mark.slow


@pytest.fixture
def recorded(data: Path) -> Path:
    make_journal(data, [MadeUp(content=name, **call) for name, (call, _) in CALLS.items()])
    return data


def test_old_traffic_is_priced_as_of_another_day_and_nothing_is_changed(data: Path) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    make_journal(data, [MadeUp(model="o3", usage=usage)])
    today, then = Decimal("0.0028"), Decimal("0.014")
    assert [row["cost_usd"] for row in rows(data, "cost")] == [today]
    found = document(data, "cost", "--prices-as-of", "2025-06-01")
    assert [row["cost_usd"] for row in found["rows"]] == [then]
    assert found["filters"] == {"prices_as_of": "2025-06-01T00:00:00+00:00"}
    assert found["coverage"]["cost"]["with_note"] == 1
    assert [row["cost_usd"] for row in rows(data, "cost")] == [today]


def test_as_of_keeps_the_time_of_the_day(data: Path) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    call = {"host": "api.deepseek.com", "model": "deepseek-chat", "usage": usage}
    make_journal(data, [MadeUp(**call), MadeUp(**call, started_at_us=NOON_US + 8 * 3_600_000_000)])  # type: ignore[arg-type]
    (row,) = rows(data, "cost", "--prices-as-of", "2026-03-01")
    peak, off_peak = 1000 * Decimal("0.27") + 100 * Decimal("1.1"), 1000 * Decimal("0.135") + 100 * Decimal("0.55")
    assert row["cost_usd"] == (peak + off_peak) / 1_000_000


def test_prices_of_ones_own_are_taken_from_the_data_directory_and_from_a_file(recorded: Path, tmp_path: Path) -> None:
    before = rows(recorded, "cost", "--by", "provider")
    own = recorded / "prices.toml"
    own.write_text('[[price]]\nhost = "localhost"\ninput = 1\noutput = 1\n')
    by_provider = {row["provider"]: row["cost_usd"] for row in rows(recorded, "cost", "--by", "provider")}
    assert by_provider["localhost:8000"] == Decimal("0.001")
    other = tmp_path / "other.toml"
    other.write_text('[[price]]\nhost = "localhost:*"\ninput = 7\noutput = 1\n')
    by_file = {
        row["provider"]: row["cost_usd"] for row in rows(recorded, "cost", "--by", "provider", "--prices", str(other))
    }
    assert by_file["localhost:8000"] == Decimal("0.007")
    assert {row["provider"]: row["cost_usd"] for row in rows(recorded, "cost", "--by", "provider")} == by_provider
    own.unlink()
    assert rows(recorded, "cost", "--by", "provider") == before


def test_calls_that_come_later_are_priced_too(recorded: Path) -> None:
    assert rows(recorded, "cost", "--by", "run")[0]["cost_usd"] == money(*PRICED)
    call = MadeUp(model="gpt-4.1", usage={"prompt_tokens": 1000, "completion_tokens": 0})
    make_journal(recorded, [call], recorder_id="recorder-2")
    assert rows(recorded, "cost", "--by", "run")[0]["cost_usd"] == money(*PRICED) + Decimal("0.002")


def test_costs_are_the_same_however_many_are_worked_out_at_once(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dearest = rows(recorded, "cost-top")
    assert {row["cost_usd"] for row in dearest} == set(PRICED.values())
    other = rows(recorded, "what-if", "--model", "openai/gpt-4o")
    DataDirectory(recorded).warehouse.unlink()
    monkeypatch.setattr(stored_costs, "_MOST_AT_ONCE", 3)
    assert rows(recorded, "cost-top") == dearest
    assert rows(recorded, "what-if", "--model", "openai/gpt-4o") == other


def test_a_plain_report_looks_up_no_prices(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_costs, "bring_up_to_date", lambda *_: pytest.fail("prices were looked up"))
    for report in all_reports():
        if not report.shows_money:
            assert tapeline_here("report", report.name, "--data", recorded).returncode == 0
    assert not find_report("usage").shows_money


def test_the_list_is_imported_when_prices_are_looked_up_and_never_else(recorded: Path) -> None:
    run = "import sys; from tapeline.pipeline.cli.main import main; main(sys.argv[1:])"
    program = f"{run}; print('genai_prices' in sys.modules)"
    asked = (["--help"], ["report", "usage"], ["report", "cost"], ["report", "cost"])
    imported = [
        subprocess.run(
            [sys.executable, "-P", "-c", program, *arguments],
            env=os.environ | {"TAPELINE_DATA": str(recorded)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()[-1]
        for arguments in asked
    ]
    assert imported == ["False", "False", "True", "False"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_costs_are_shown_where_nothing_can_be_written(recorded: Path) -> None:
    assert tapeline_here("load", "--data", recorded).returncode == 0
    recorded.chmod(0o500)
    try:
        assert rows(recorded, "cost", "--by", "run")[0]["cost_usd"] == money(*PRICED)
    finally:
        recorded.chmod(0o700)


WRONG_USE = {
    "a group that is none": (["cost", "--by", "nonsense"], "nonsense"),
    "three groups": (["cost", "--by", "day,model,user"], "--by"),
    "a group twice": (["cost", "--by", "day,day"], "--by"),
    "a report that has no groups": (["usage", "--by", "user"], "usage"),
    "a day that is none": (["cost", "--prices-as-of", "yesterday"], "yesterday"),
    "a day for a report without money": (["usage", "--prices-as-of", "2026-01-01"], "usage"),
    "a file for a report without money": (["usage", "--prices", "x.toml"], "usage"),
    "a file that is not there": (["cost", "--prices", "no-such-file.toml"], "no-such-file.toml"),
    "no other model": (["what-if"], "--model"),
    "an unknown other model": (["what-if", "--model", "gpt-nobody"], "gpt-nobody"),
}


@pytest.mark.parametrize("name", WRONG_USE)
def test_wrong_use_gets_one_clear_line(recorded: Path, name: str) -> None:
    options, word = WRONG_USE[name]
    result = tapeline_here("report", *options, "--data", recorded)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert word in line
