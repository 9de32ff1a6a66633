"""Runs the SDKs' programs: the one in Python, and the one in node, for which the package is installed first.

A program runs all cases in one process, because starting it takes longer than a hundred requests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from tapeline.pipeline.demo import JsonObject
from tests.support.clients.node_packages import installed
from tests.support.machine.programs import require
from tests.support.processes.recorder import clean_environment

HERE = Path(__file__).parent
NODE = HERE / "node"
OLDEST_NODE = 20
RUN_SECONDS = 100


@dataclass(frozen=True)
class Program:
    """A client program: its last argument is the path of a file of cases, and it prints their results."""

    client: str
    version: str
    command: tuple[str, ...]
    source: Path | None = None
    """The file that it gets on stdin, if its source is read from there."""
    folder: Path | None = None

    def run(self, cases: Sequence[JsonObject], folder: Path, launcher: Sequence[str] = ()) -> list[JsonObject]:
        """Run the cases, and return what the SDK made of each response; `launcher` is put before the command."""
        path = folder / f"{self.client}.json"
        path.write_text(json.dumps(cases))
        result = subprocess.run(
            [*launcher, *self.command, str(path)],
            input=self.source.read_bytes() if self.source else b"",
            capture_output=True,
            timeout=RUN_SECONDS,
            env=clean_environment(),
            cwd=self.folder,
            check=False,
        )
        assert result.returncode == 0, result.stderr.decode(errors="replace")
        results: list[JsonObject] = json.loads(result.stdout)
        assert len(results) == len(cases)
        return results


def python_program() -> Program:
    return Program("python", openai.__version__, (sys.executable, str(HERE / "python_client.py")))


def node_program() -> Program:
    """Return the program in node; skips the test if node or the package is not available."""
    command = (require("node"), "--input-type=module", "-")
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node is {version.strip()}, older than {OLDEST_NODE}")
    return Program("node", node_version(), command, NODE / "client.mjs", installed(NODE))


def node_version() -> str:
    """Return the version of the openai package for node."""
    return str(json.loads((NODE / "package.json").read_text())["dependencies"]["openai"])
