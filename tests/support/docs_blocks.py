"""Writes the parts of README.md and docs/ that come from the code; cog calls it, and `make check` compares."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import click

from tapeline.pipeline.apis.chat_completions.request import VOLATILE_FIELDS
from tapeline.pipeline.apis.usage import USAGE_PATHS
from tapeline.pipeline.cli.main import tapeline
from tapeline.pipeline.dataset.schema import COSTS, DATASETS, LINKS, OUTCOMES, Column
from tapeline.pipeline.records.record import make_record
from tapeline.pipeline.reports.definition import all_reports
from tapeline.pipeline.wire.redaction import FORMATS
from tests.clients.sdk.deviations import CLIENTS, read_kinds, read_versions
from tests.support.journals.comparison import EXAMPLE_ARGUMENTS, make_example
from tests.support.journals.sample import make_sample
from tests.support.journals.systems import Line, System, all_systems
from tests.support.places import DATA
from tests.support.processes.recorder import tapeline_here

HELP_WIDTH = 100
EXAMPLE = DATA / "example" / "haiku.py"


def command_list() -> str:
    """Return a table of the commands with their summaries."""
    rows = [
        f"| `tapeline {name}` | {command.get_short_help_str(limit=200)} |"
        for name, command in tapeline.commands.items()
        if not command.hidden
    ]
    return _table("command", "what it does", rows)


def _wrapped(paragraph: str) -> str:
    """Break a sentence as a terminal would; leave tables and messages of several lines as they are."""
    is_sentence = paragraph[:1].isalnum() and "  " not in paragraph
    is_long = len(paragraph.partition("\n")[0]) > HELP_WIDTH
    return textwrap.fill(paragraph, HELP_WIDTH) if is_sentence and is_long else paragraph


def command_help(name: str) -> str:
    """Return a command's own help."""
    command = tapeline.commands[name]
    context = click.Context(command, info_name=f"tapeline {name}", terminal_width=HELP_WIDTH)
    return f"```\n{command.get_help(context)}\n```"


def report_list() -> str:
    """Return a table of the reports."""
    return _table("report", "what it answers", [f"| `{report.name}` | {report.title} |" for report in all_reports()])


def column_table(dataset: str) -> str:
    """Return a table of a dataset's columns."""
    return _columns(DATASETS[dataset].columns)


def link_table() -> str:
    """Return a table of the columns that `exchanges` has in the warehouse alone."""
    return _columns(LINKS)


def all_commands() -> str:
    """Return the help of every command, each under a heading."""
    names = [name for name, command in tapeline.commands.items() if not command.hidden]
    return "\n\n".join(f"## tapeline {name}\n\n{command_help(name)}" for name in names)


def comparison_example() -> str:
    """Return the output of `tapeline diff` for two recordings that are made for it."""
    return _example(make_example, "diff", *EXAMPLE_ARGUMENTS)


def gate_example() -> str:
    """Return the start of the same comparison: the verdict and the rules that fired."""
    return _example(make_example, "diff", *EXAMPLE_ARGUMENTS, lines=10)


def sample(*arguments: str, lines: int | None = None) -> str:
    """Return the output of a command for a small recording with fixed times."""
    return _example(make_sample, *arguments, lines=lines)


def _example(make: Callable[[Path], None], *arguments: str, lines: int | None = None) -> str:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        make(data)
        result = tapeline_here(*arguments, "--data", data)
    text = "\n".join(line.rstrip() for line in result.stdout.strip("\n").splitlines())
    printed = "\n\n".join(map(_wrapped, text.split("\n\n"))).splitlines()
    if lines is not None and len(printed) > lines:
        printed = [*printed[:lines], "..."]
    shown = " ".join(f"'{word}'" if set(word) & set("> *") else word for word in arguments)
    return "\n".join([f"```\n$ tapeline {shown}", *printed, "```"])


def cost_table() -> str:
    """Return a table of the columns that follow from prices."""
    return _columns(COSTS)


def outcome_list() -> str:
    """Return a table of the outcomes."""
    return _table("outcome", "meaning", [f"| `{name}` | {text} |" for name, text in OUTCOMES.items()])


def volatile_fields() -> str:
    """Return the fields that `request_fingerprint` leaves out."""
    return ", ".join(f"`{name}`" for name in VOLATILE_FIELDS) + "."


def system_table() -> str:
    """Return a table of the systems in `tests/data/systems`, with what each does differently."""
    systems = sorted(all_systems(), key=lambda system: system.about["order"])
    rows = [f"| {system.about['name']} | {_own(system)} | {_proof(system)} |" for system in systems]
    return "\n".join(
        [
            "| system | what it does differently, and the column that holds it | tested with |",
            "| --- | --- | --- |",
            *rows,
        ]
    )


def redacted_formats() -> str:
    """Return the kinds of credentials that are replaced."""
    return "  " + ", ".join(f"`{kind}`" for kind in dict.fromkeys(entry.kind for entry in FORMATS)) + "."


def pytest_example() -> str:
    """Return the tests that `test_pytest_plugin` runs."""
    return f"```python\n{EXAMPLE.read_text('utf-8').rstrip()}\n```"


def _columns(columns: tuple[Column, ...]) -> str:
    rows = [f"| `{column.name}` | {column.kind} | {column.description} |" for column in columns]
    return "\n".join(["| column | kind | what it holds |", "| --- | --- | --- |", *rows])


def _own(system: System) -> str:
    """Return how a system behaves, and the lines that are marked as its own, grouped by column."""
    columns: dict[str, dict[str, list[str]]] = {}
    for line in system.lines:
        if line.is_peculiar:
            name, value = _label(line)
            values = columns.setdefault(_column(line), {}).setdefault(name, [])
            values += [value] if value not in ("", *values) else []
    return "<br>".join(
        [system.about["behaviour"], *(f"{column}: {_named(names)}" for column, names in columns.items())]
    )


def _named(names: dict[str, list[str]]) -> str:
    return ", ".join(f"`{name}`" + (f" ({', '.join(values)})" if values else "") for name, values in names.items())


def _column(line: Line) -> str:
    home = line.homes[0]
    if home == "nowhere":
        return "not recorded"
    if home in USAGE_PATHS:
        return "token columns"
    if home.startswith("tool_calls."):
        return "`tool_calls`"
    return "a column of that name" if home == line.path else f"`{home}`"


def _label(line: Line) -> tuple[str, str]:
    """Return the name of the field that a line describes, without its path, and the value that the line names."""
    value = (line.wanted or "").removeprefix("is ").removeprefix("= ").strip('"')
    if line.homes[0] in USAGE_PATHS:
        return line.path.rpartition(".")[0], value
    if line.place == "error":
        return line.path.partition("[]")[0], value
    path = line.path.removeprefix("messages[].") if line.place == "request" else line.path
    for parent in ("content[].", "choices[].", "message.", "delta."):
        path = path.removeprefix(parent)
    return path.partition(".")[0].removesuffix("[]"), value


def _proof(system: System) -> str:
    exchanges = system.exchanges
    statuses = ", ".join(str(status) for status in sorted({exchange.status for exchange in exchanges}))
    rows = [{**make_record(exchange.captured([exchange.answer]), "").row} for exchange in exchanges]
    filled = sum(any(row[column.name] is not None for row in rows) for column in DATASETS["exchanges"].columns)
    named = f"{len(system.lines)} documented fields and values, {filled} columns filled"
    return f"{len(exchanges)} exchanges, status {statuses}; {named}"


def sdk_versions() -> str:
    """Return the SDKs that are compared, with their versions."""
    versions = read_versions()
    return f"(openai {versions['python']} for Python, {versions['node']} for Node)"


def sdk_deviations() -> str:
    """Return a table of how SDKs read streams differently, with the number of test streams that show it."""
    rows = [
        " | ".join(
            ["", kind.what, *(str(len(kind.streams(client)) or "") for client in CLIENTS), kind.ours, ""]
        ).strip()
        for kind in read_kinds().values()
    ]
    return "\n".join(["| what the SDK does | Python | Node | what is recorded |", "| --- | --: | --: | --- |", *rows])


def _table(left: str, right: str, rows: list[str]) -> str:
    return "\n".join([f"| {left} | {right} |", "| --- | --- |", *rows])
