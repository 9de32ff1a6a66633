"""Says what a disk would hold after a loss of power: of files and folders what `fsync` was called for, nothing else.

It watches this process's own calls, and those of SQLite not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_OPEN_FILES = Path("/proc/self/fd")


class Disk:
    """What is safe of a folder that is there since long ago."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._contents: dict[int, bytes] = {}
        self._names: dict[Path, dict[str, int]] = {}

    def sync(self, descriptor: int) -> None:
        """What `fsync` makes safe: a file's bytes, or which names a folder holds."""
        path = (_OPEN_FILES / str(descriptor)).readlink()
        if path.is_dir():
            self._names[path] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            self._contents[os.fstat(descriptor).st_ino] = path.read_bytes()

    def safe_files(self, folder: Path) -> dict[Path, bytes]:
        """The files below a folder that can still be found by their names, with what is safe of their bytes."""
        return dict(self._safe(folder)) if self._has_names_to(folder) else {}

    def _has_names_to(self, folder: Path) -> bool:
        return folder == self._root or (
            folder.name in self._names.get(folder.parent, {}) and self._has_names_to(folder.parent)
        )

    def _safe(self, folder: Path) -> Iterator[tuple[Path, bytes]]:
        for name, inode in self._names.get(folder, {}).items():
            path = folder / name
            if path.is_dir():
                yield from self._safe(path)
            else:
                yield path, self._contents.get(inode, b"")


@contextmanager
def watched_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Watch what becomes safe of a folder; skips the test where the system does not tell the names of open files."""
    if not _OPEN_FILES.is_dir():
        pytest.skip(f"this system has no {_OPEN_FILES}")
    disk, fsync = Disk(root), os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        disk.sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", watched)
        yield disk
