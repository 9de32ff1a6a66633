"""Sealing as it goes on beside a recorder, in a thread of this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.sealing.follow import follow


@contextmanager
def following(directory: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sealing as it goes on beside a recorder, until the end of its input."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as standard_input, ThreadPoolExecutor() as pool:
        monkeypatch.setattr(sys, "stdin", standard_input)
        running = pool.submit(follow, directory)
        try:
            yield
        finally:
            os.close(writing)
            running.result()
