"""Writes the parts of the README that come from the code; cog calls it, and `make check` compares."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from tapeline.pipeline.apis.chat_completions.request import VOLATILE_FIELDS
from tapeline.pipeline.apis.usage import USAGE_PATHS
from tapeline.pipeline.cli.main import tapeline
from tapeline.pipeline.dataset.schema import COSTS, DATASETS, LINKS, OUTCOMES, Column
from tapeline.pipeline.demo import WORKLOAD
from tapeline.pipeline.records.record import make_record
from tapeline.pipeline.reports.definition import all_reports
from tapeline.pipeline.wire.redaction import FORMATS
from tests.clients.sdk.deviations import CLIENTS, read_kinds, read_versions
from tests.support.journals.comparison import EXAMPLE_ARGUMENTS, make_example
from tests.support.journals.systems import Line, System, all_systems
from tests.support.places import DATA
from tests.support.processes.recorder import tapeline_here

HELP_WIDTH = 100
EXAMPLE = DATA / "example" / "haiku.py"


def command_list() -> str:
    """A line a command, as `tapeline --help` has it, whole."""
    rows = [
        f"| `tapeline {name}` | {command.get_short_help_str(limit=200)} |"
        for name, command in tapeline.commands.items()
        if not command.hidden
    ]
    return _table("command", "what it does", rows)


def command_help(name: str) -> str:
    """A command's own help."""
    command = tapeline.commands[name]
    context = click.Context(command, info_name=f"tapeline {name}", terminal_width=HELP_WIDTH)
    return f"```\n{command.get_help(context)}\n```"


def report_list() -> str:
    """A line a report."""
    return _table("report", "what it answers", [f"| `{report.name}` | {report.title} |" for report in all_reports()])


def column_table(dataset: str) -> str:
    """A line a column."""
    return _columns(DATASETS[dataset].columns)


def link_table() -> str:
    """The columns that `exchanges` has in the warehouse alone."""
    return _columns(LINKS)


def comparison_example() -> str:
    """What `tapeline diff` prints of two recordings made up for it."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        make_example(data)
        printed = tapeline_here("diff", *EXAMPLE_ARGUMENTS, "--data", data).stdout
    shown = " ".join(f"'{word}'" if ">" in word else word for word in EXAMPLE_ARGUMENTS)
    return f"```\n$ tapeline diff {shown}\n{printed.rstrip()}\n```"


def cost_table() -> str:
    """Those that follow from prices."""
    return _columns(COSTS)


def outcome_list() -> str:
    """A line an outcome."""
    return _table("outcome", "what it says", [f"| `{name}` | {text} |" for name, text in OUTCOMES.items()])


def volatile_fields() -> str:
    """The fields that `request_fingerprint` leaves out."""
    return ", ".join(f"`{name}`" for name in VOLATILE_FIELDS) + "."


def system_table() -> str:
    """A line a system of `tests/data/systems`: what is its own, by the column that holds it, and how that is known."""
    systems = sorted(all_systems(), key=lambda system: system.about["order"])
    rows = [f"| {system.about['name']} | {_own(system)} | {_proof(system)} |" for system in systems]
    return "\n".join(["| system | what is its own, and where it is | tested with |", "| --- | --- | --- |", *rows])


def redacted_formats() -> str:
    """The kinds of credentials that are replaced by names."""
    return "  " + ", ".join(f"`{kind}`" for kind in dict.fromkeys(entry.kind for entry in FORMATS)) + "."


def demo_size() -> str:
    """What the demo's workload is."""
    return f"{len(WORKLOAD)} calls to {len({call.host for call in WORKLOAD})} hosts"


def pytest_example() -> str:
    """The tests that `test_pytest_plugin` runs."""
    return f"```python\n{EXAMPLE.read_text('utf-8').rstrip()}\n```"


def _columns(columns: tuple[Column, ...]) -> str:
    rows = [f"| `{column.name}` | {column.kind} | {column.description} |" for column in columns]
    return "\n".join(["| column | kind | what it holds |", "| --- | --- | --- |", *rows])


def _own(system: System) -> str:
    """How a system behaves, then the lines that are marked as its own, grouped by column."""
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
    """The name of what a line speaks of, without what leads there and what is in it, and the value it is about."""
    value = (line.wanted or "").removeprefix("is ").removeprefix("= ").strip('"')
    if line.homes[0] in USAGE_PATHS:
        return line.path.rpartition(".")[0], value
    if line.place == "error":
        return line.path.partition("[]")[0], value
    path = line.path.removeprefix("messages[].") if line.place == "request" else line.path
    for way in ("content[].", "choices[].", "message.", "delta."):
        path = path.removeprefix(way)
    return path.partition(".")[0].removesuffix("[]"), value


def _proof(system: System) -> str:
    exchanges = system.exchanges
    statuses = ", ".join(str(status) for status in sorted({exchange.status for exchange in exchanges}))
    rows = [{**make_record(exchange.captured([exchange.answer]), "").row} for exchange in exchanges]
    filled = sum(any(row[column.name] is not None for row in rows) for column in DATASETS["exchanges"].columns)
    named = f"{len(system.lines)} documented fields and values, {filled} columns filled"
    return f"{len(exchanges)} exchanges, status {statuses}; {named}"


def sdk_versions() -> str:
    """The SDKs that were compared."""
    versions = read_versions()
    return f"(openai {versions['python']} for Python, {versions['node']} for Node)"


def sdk_deviations() -> str:
    """A line a reason why SDKs read a stream otherwise, with how many of the tests' answers show it."""
    rows = [
        " | ".join(
            ["", kind.what, *(str(len(kind.streams(client)) or "") for client in CLIENTS), kind.ours, ""]
        ).strip()
        for kind in read_kinds().values()
    ]
    return "\n".join(["| what the SDK does | Python | Node | what is recorded |", "| --- | --: | --: | --- |", *rows])


def _table(left: str, right: str, rows: list[str]) -> str:
    return "\n".join([f"| {left} | {right} |", "| --- | --- |", *rows])
