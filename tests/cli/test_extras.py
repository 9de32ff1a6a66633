"""A feature fails with one line if its extra is not installed, and no other feature needs an extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.journals.journals import MadeUp, make_journal
from tests.support.processes.recorder import clean_environment

pytestmark = pytest.mark.slow

EXTRAS = {
    "charts": ("altair", "jinja2", "vl_convert"),
    "otlp": ("opentelemetry",),
}
# Imitates an environment without the packages: importing one of them fails.
WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Nowhere(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{fullname!r}}", name=fullname)

sys.meta_path.insert(0, Nowhere())
from tapeline.pipeline.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
MISSING = {
    "charts": (["report", "--format", "html"], "A page of reports"),
    "otlp": (["export", "--format", "otlp"], "--format otlp"),
}
PLAIN = (
    ["report"],
    ["report", "cost"],
    ["diff", "run-1", "run-1"],
    ["export", "--format", "har"],
    ["tail", "--no-follow"],
    ["doctor"],
)


def run_without(packages: tuple[str, ...], data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT.format(packages=packages), *arguments, "--data", str(data)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=clean_environment(COLUMNS="200"), check=False
    )


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_extra_is_one_line_with_the_way_out(extra: str, data: Path) -> None:
    make_journal(data, [MadeUp()])
    arguments, feature = MISSING[extra]
    result = run_without(EXTRAS[extra], data, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    line = f"Error: {feature} needs packages that are not installed: pip install 'tapeline[{extra}]'"
    assert result.stderr.splitlines()[-1] == line


@pytest.mark.parametrize("arguments", PLAIN, ids=" ".join)
def test_nothing_else_needs_an_extra(arguments: list[str], data: Path) -> None:
    make_journal(data, [MadeUp()])
    packages = tuple(package for extra in EXTRAS.values() for package in extra)
    result = run_without(packages, data, *arguments)
    assert result.returncode == 0, result.stderr
