"""Runs `tapeline` in a process that ends by `kill -9` at a given place of its own code.

    <file>  OWNER NAME WHEN CALLS -- ARGUMENTS...

OWNER is a module, or `module:class`; the process dies before or after it has called NAME so many times. A NAME in
capitals is a statement that the warehouse is told.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 60.0


@dataclass(frozen=True)
class Place:
    """Where a process dies."""

    owner: str
    name: str
    when: str
    calls: int = 1

    def __str__(self) -> str:
        return f"{self.when} {self.name} {self.calls}"


def die_at(place: Place, *arguments: str | Path) -> None:
    """Run a command until it dies at its place; fails if it gets past it."""
    words = [place.owner, place.name, place.when, str(place.calls), *map(str, arguments)]
    result = subprocess.run([sys.executable, __file__, *words], capture_output=True, timeout=SECONDS, check=False)
    assert result.returncode == -signal.SIGKILL, (result.returncode, result.stderr.decode())


def main() -> int:
    owner, name, when, calls = sys.argv[1:5]
    module, _, inner = owner.partition(":")
    holder: Any = importlib.import_module(module)
    if inner:
        holder = getattr(holder, inner)
    count = _Countdown(int(calls), when)
    if name.isupper():
        connect = holder.connect
        holder.connect = lambda *args, **options: _Connection(connect(*args, **options), name, count)
    else:
        setattr(holder, name, count.guard(getattr(holder, name)))
    from tapeline.pipeline.cli.main import main as tapeline

    return tapeline(sys.argv[5:])


class _Countdown:
    def __init__(self, calls: int, when: str) -> None:
        self._calls = calls
        self._when = when

    def guard(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*args: Any, **options: Any) -> Any:
            self._calls -= 1
            if self._calls:
                return original(*args, **options)
            if self._when == "after":
                original(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("still alive")

        return dying


class _Connection:
    """A connection to the warehouse that dies at a statement."""

    def __init__(self, connection: Any, statement: str, count: _Countdown) -> None:
        self._connection = connection
        self._statement = statement
        self._dying = count.guard(connection.execute)

    def execute(self, sql: str, *parameters: Any) -> Any:
        return self._dying(sql) if sql == self._statement else self._connection.execute(sql, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


if __name__ == "__main__":
    sys.exit(main())
