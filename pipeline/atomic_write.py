"""Writes a file so that it is there whole under its name, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a private file that gets its name when the block ends, and never does if the block raises.

    Until then it lies beside the path as `.NAME.*.tmp`, under a name that no other writer has. With `durable` its bytes
    and its name are on the disk when the block has ended. Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")  # of mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | memoryview, *, durable: bool = False) -> None:
    """Write a private file at once, as `whole_file` does. Raises OSError."""
    with whole_file(path, durable=durable) as file:
        file.write(data)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder be on the disk."""
    if os.name == "nt":
        return  # Windows keeps names with their files and opens no folder.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
