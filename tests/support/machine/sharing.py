"""Makes a value once for all processes of a test run, where a fixture would make it once in each."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable

import pytest


def shared[T](factory: pytest.TempPathFactory, name: str, make: Callable[[], T]) -> T:
    """What `make` gives: made by the process that comes first, waited for and read by the others."""
    base = factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    path = folder / f"{name}.pickle"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_bytes(pickle.dumps(make()))
    value: T = pickle.loads(path.read_bytes())
    return value
