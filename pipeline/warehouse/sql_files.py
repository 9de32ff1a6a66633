"""Finds the pipeline's own SQL, which stands in files."""

from __future__ import annotations

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def sql_text(name: str) -> str:
    """One of the files, whole."""
    return (files(__package__) / "sql" / f"{name}.sql").read_text("utf-8")


def sql_statements(name: str) -> dict[str, str]:
    """The statements of a file by the names that stand above them, as in `-- name: relink`; in their order."""
    _, *parts = _NAME.split(sql_text(name))
    return dict(zip(parts[::2], parts[1::2], strict=True))
