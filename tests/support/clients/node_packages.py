"""Packages for node that tests use, installed once from a lock file; without them, a test is skipped."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.machine.programs import require
from tests.support.places import ROOT

# One folder for each lock file; git ignores it.
INSTALLED = ROOT / ".node"
INSTALL_SECONDS = 60


def installed(source: Path) -> Path:
    """Install the packages of a folder's lock file if needed, and return where they are."""
    target = INSTALLED / hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:16]
    if target.exists():
        return target
    INSTALLED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=INSTALLED) as temporary:
        folder = Path(temporary) / "package"
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, folder)
        _install(folder)
        try:
            folder.rename(target)
        except OSError:
            assert target.exists()  # another test process was faster
    return target


def _install(folder: Path) -> None:
    command = [require("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    try:
        result = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install the packages within {INSTALL_SECONDS} s")
    if result.returncode:
        errors = [
            line.removeprefix("npm error ") for line in result.stderr.splitlines() if line.startswith("npm error ")
        ]
        pytest.skip(f"npm could not install the packages: {'; '.join(errors[:2])}")
