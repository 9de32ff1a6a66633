"""Packaging: the wheel contains the three folders, the lock every dependency, and imports stay light."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest

from tests.support.places import ROOT

pytestmark = pytest.mark.slow

FOLDERS = ("addons", "pipeline", "queries")
SUFFIXES = (".py", ".sql", ".cjs", ".css", ".html", ".js")
#: The packages that take long to import.
HEAVY = (
    "altair", "duckdb", "genai_prices", "mitmproxy", "opentelemetry",
    "polars", "rapidfuzz", "rich", "simplejson",
)  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in tracked():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(folder.glob("*.whl"))


def tracked() -> list[str]:
    """Return the files of the work tree that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def test_the_wheel_contains_every_file_of_the_three_folders_and_nothing_else(wheel: Path) -> None:
    expected = {f"tapeline/{name}" for name in tracked() if name.split("/")[0] in FOLDERS and name.endswith(SUFFIXES)}
    with zipfile.ZipFile(wheel) as archive:
        present = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert present == expected


def test_the_lock_names_no_host_of_a_registry() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_the_lock_names_every_dependency() -> None:
    locked = {re.split(r"[=\s]", line)[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    declared = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in requires("tapeline") or []}
    assert declared - {"tapeline"} <= {name.lower() for name in locked}


@pytest.mark.parametrize("module", HEAVY)
def test_help_imports_nothing_heavy(module: str) -> None:
    show_help = "import sys; from tapeline.pipeline.cli.main import main; main(['--help'])"
    code = f"{show_help}; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.parametrize("module", ["duckdb", "polars", "click", "tapeline.pipeline"])
def test_the_recorder_imports_only_what_mitmproxy_has(module: str) -> None:
    code = f"import sys; import tapeline.addons.recorder; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
