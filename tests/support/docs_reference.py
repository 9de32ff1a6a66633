"""Writes the reference tables of docs/ that are read from the code: types, views, exit codes, variables, releases."""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import polars as pl
from polars.datatypes import DataTypeClass

from tapeline.pipeline.cli.main import INTERRUPTED, tapeline
from tapeline.pipeline.dataset.parquet import PARQUET_TYPES
from tapeline.pipeline.errors import ExitCode
from tapeline.pipeline.proxy import releases
from tapeline.pipeline.proxy.fixes import connections, http1, http2
from tapeline.pipeline.warehouse.engines.duckdb import DUCKDB_TYPES
from tests.support.journals.sample import make_sample
from tests.support.processes.recorder import query

#: The views that the documentation promises, and what one row of each is.
VIEWS = {
    "exchanges": "a request and its response",
    "grouped": "the same, with the columns that `--by` names",
    "choices": "a choice of a response",
    "tool_calls": "a tool call of a choice",
    "messages": "a message of a request",
    "event_gaps": "a pause between two events of a complete stream",
    "limits": "an exchange, with what its headers report of rate limits",
    "content": "a message, a list of tools, or a payload",
    "losses": "a fault that left something unrecorded",
}
EXIT_CODES = {
    ExitCode.OK: "success",
    ExitCode.RULE: "a rule of `diff --fail-on` fired",
    ExitCode.USAGE: "wrong use: an unknown name, a port in use, a place that cannot be written, a missing extra",
    ExitCode.DATA: "data on the disk cannot be read or written",
    ExitCode.UNANSWERED: "some requests of a replay have no response",
}
PARTS = {
    "`fixes/`": releases.FIXES,
    "`fast_path/`": releases.FAST_PATH,
    "`fast_path/tls.py`": releases.FAST_TLS,
}


def type_table() -> str:
    """Return a table of the kinds of columns, with their types in Parquet and in DuckDB."""
    rows = [
        f"| {kind} | {_parquet_type(PARQUET_TYPES.get(kind))} | {_duckdb_type(text)} |"
        for kind, text in DUCKDB_TYPES.items()
    ]
    return "\n".join(["| kind | in Parquet, by Polars' names | in DuckDB |", "| --- | --- | --- |", *rows])


def _parquet_type(data_type: pl.DataType | DataTypeClass | None) -> str:
    if data_type is None:
        return "not in files"
    if isinstance(data_type, pl.List):
        return f"list of {_parquet_type(data_type.inner)}"
    if isinstance(data_type, pl.Struct):
        return f"struct({', '.join(f'`{field.name}` {_parquet_type(field.dtype)}' for field in data_type.fields)})"
    if isinstance(data_type, pl.Datetime):
        return "Datetime, microseconds, UTC"
    return f"Decimal({data_type.precision}, {data_type.scale})" if isinstance(data_type, pl.Decimal) else str(data_type)


def _duckdb_type(text: str) -> str:
    return "list of structs" if "STRUCT" in text else f"`{text}`"


def view_table() -> str:
    """Return a table of the views with their columns; columns of another view are not listed again."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        make_sample(data)
        found = query(data, "SELECT table_name, column_name FROM information_schema.columns ORDER BY ordinal_position")
    columns: dict[str, list[str]] = {view: [] for view in VIEWS}
    for row in found:
        columns.setdefault(row["table_name"], []).append(row["column_name"])
    rows = [f"| `{view}` | {meaning} | {_columns_of(view, columns)} |" for view, meaning in VIEWS.items()]
    return "\n".join(["| view | one row is | columns |", "| --- | --- | --- |", *rows])


def _columns_of(view: str, columns: dict[str, list[str]]) -> str:
    if view in ("exchanges", "content", "losses"):
        return "below, and `day`" if "day" in columns[view] else "below"
    base = {"grouped": "exchanges", "limits": "grouped"}.get(view)
    own = [name for name in columns[view] if base is None or name not in columns[base]]
    listed = ", ".join(f"`{name}`" for name in own)
    return f"those of `{base}`, and {listed}" if base else listed


def exit_code_table() -> str:
    """Return a table of the exit codes."""
    rows = [f"| {int(code)} | {EXIT_CODES[code]} |" for code in ExitCode]
    return "\n".join(["| code | meaning |", "| --: | --- |", *rows, f"| {INTERRUPTED} | interrupted by Ctrl-C |"])


def option_variables() -> str:
    """Return a table of the variables that stand for an option."""
    options = dict(_options_with_variables())
    rows = [f"| `{variable}` | {meaning} |" for variable, meaning in sorted(options.items())]
    return "\n".join(["| variable | stands for |", "| --- | --- |", *rows])


def _options_with_variables() -> Iterator[tuple[str, str]]:
    for command in tapeline.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and isinstance(parameter.envvar, str):
                names = " / ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
                owner = (
                    "of every command that has it" if parameter.name == "directory" else f"of `tapeline {command.name}`"
                )
                yield parameter.envvar, f"{names} {owner}"


def correction_table() -> str:
    """Return a table of the corrections to mitmproxy, as their classes describe them."""
    rows = [
        f"| `{cls.__name__}` | `{module.__name__.rpartition('.')[2]}.py` | {_description(cls)} |"
        for module in (http1, http2, connections)
        for cls in _corrections(module)
    ]
    return "\n".join(["| class | file | what it corrects, and the upstream issue |", "| --- | --- | --- |", *rows])


def _corrections(module: ModuleType) -> Iterator[type]:
    """Return the classes that derive from mitmproxy's and name an upstream issue, or that none is known."""
    for value in vars(module).values():
        is_own = isinstance(value, type) and value.__module__ == module.__name__
        if is_own and "mitmproxy." in _origins(value) and re.search(r"issue|#\d", _description(value)):
            yield value


def _origins(cls: type) -> str:
    return " ".join(base.__module__ for base in cls.__mro__)


def _description(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").split())


def release_table() -> str:
    """Return a table of the parts that use private names of other packages, and the releases they work with."""
    rows = [
        f"| {part} | {_tested(insides)} | {len(insides.patched)} | {len(insides.read)} |"
        for part, insides in PARTS.items()
    ]
    return "\n".join(
        ["| part | works with | names replaced | names read |", "| --- | --- | --: | --: |", *rows],
    )


def _tested(insides: releases.Insides) -> str:
    return ", ".join(f"{package} {' or '.join(releases.TESTED[package])}" for package in insides.packages)
