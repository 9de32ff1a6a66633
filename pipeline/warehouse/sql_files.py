"""Reads the SQL files of the pipeline."""

from __future__ import annotations

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def sql_text(name: str) -> str:
    """Return the text of a file."""
    return (files(__package__) / "sql" / f"{name}.sql").read_text("utf-8")


def sql_statements(name: str) -> dict[str, str]:
    """Return the statements of a file by the names above them (`-- name: relink`), in their order."""
    _, *parts = _NAME.split(sql_text(name))
    return dict(zip(parts[::2], parts[1::2], strict=True))
