"""A command that needs a missing extra fails with one line; every other command works without the extras."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.journals.journals import MadeUp, make_journal
from tests.support.processes.recorder import clean_environment

pytestmark = pytest.mark.slow

#: The packages of each extra that a plain install lacks; mitmproxy brings jinja2.
EXTRAS = {
    "charts": ("altair", "vl_convert"),
    "otlp": ("opentelemetry",),
}
# Runs a command as in an environment without the packages: importing one of them fails.
RUN_WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class NotInstalled(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{fullname!r}}", name=fullname)

sys.meta_path.insert(0, NotInstalled())
from tapeline.pipeline.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
#: The command that needs an extra, and the name of the feature in its message.
NEEDING = {
    "charts": (["report", "--format", "html"], "A page of reports"),
    "otlp": (["export", "--format", "otlp"], "--format otlp"),
}
PLAIN = (
    ["record", "--", sys.executable, "-c", ""],
    ["report"],
    ["report", "cost"],
    ["report", "cost", "--format", "csv"],
    ["diff", "run-1", "run-1"],
    ["diff", "run-1", "run-1", "--format", "html"],
    ["export", "--format", "har"],
    ["sql", "SELECT count(*) FROM exchanges"],
    ["tail", "--no-follow"],
    ["doctor"],
)


def run_without(packages: tuple[str, ...], data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN_WITHOUT.format(packages=packages), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(COLUMNS="200", TAPELINE_DATA=str(data)),
        check=False,
    )


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(extra: str, data: Path) -> None:
    make_journal(data, [MadeUp()])
    arguments, feature = NEEDING[extra]
    result = run_without(EXTRAS[extra], data, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    line = f"Error: {feature} needs packages that are not installed: pip install 'tapeline[{extra}]'"
    assert result.stderr.splitlines()[-1] == line


@pytest.mark.parametrize("arguments", PLAIN, ids=lambda arguments: "-".join(arguments[:4:3]))
def test_other_commands_need_no_extra(arguments: list[str], data: Path) -> None:
    make_journal(data, [MadeUp()])
    packages = tuple(package for extra in EXTRAS.values() for package in extra)
    result = run_without(packages, data, *arguments)
    assert result.returncode == 0, result.stderr
