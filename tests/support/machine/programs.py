"""Programs that tests use where they are there: a test that lacks one is skipped and says so."""

from __future__ import annotations

import shutil
import subprocess

import pytest

SECONDS = 60.0


def require(name: str) -> str:
    """The path of a program."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def output_of(*command: str, data: bytes | None = None) -> bytes:
    """What a program that succeeds writes to stdout."""
    result = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS, check=False)
    assert result.returncode == 0, result.stderr.decode(errors="replace")
    return result.stdout
