"""A real disk that is full when a test wants it to be: a small tmpfs, which only root may mount."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_BLOCK = bytes(4096)


@dataclass(frozen=True)
class SmallDisk:
    """A mounted file system."""

    root: Path

    @property
    def _ballast(self) -> Path:
        return self.root / "ballast"

    def fill(self) -> None:
        """Take all the room that is left, to the last block."""
        with self._ballast.open("ab", buffering=0) as file:
            while True:
                try:
                    file.write(_BLOCK)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    return

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a disk of that size (`8m`) on a new folder; skips the test where that is refused."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tapeline-test", str(folder)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError as error:
        pytest.skip(f"mount cannot be run: {error}")
    if result.returncode:
        pytest.skip(f"a tmpfs cannot be mounted: {result.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: a process that still ends may have a file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)
