"""Writes the parts of the README that come from the code; cog calls it, and `make check` compares."""

from __future__ import annotations

import click

from tapeline.pipeline.cli import tapeline
from tapeline.pipeline.provider import WORKLOAD
from tapeline.pipeline.question import VOLATILE_FIELDS
from tapeline.pipeline.reports import all_reports
from tapeline.pipeline.schema import DATASETS, LINKS, OUTCOMES, Column

HELP_WIDTH = 100


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


def outcome_list() -> str:
    """A line an outcome."""
    return _table("outcome", "what it says", [f"| `{name}` | {text} |" for name, text in OUTCOMES.items()])


def volatile_fields() -> str:
    """The fields that `request_fingerprint` leaves out."""
    return ", ".join(f"`{name}`" for name in VOLATILE_FIELDS) + "."


def demo_size() -> str:
    """What the demo's workload is."""
    return f"{len(WORKLOAD)} calls to {len({call.host for call in WORKLOAD})} hosts"


def _columns(columns: tuple[Column, ...]) -> str:
    rows = [f"| `{column.name}` | {column.kind} | {column.description} |" for column in columns]
    return "\n".join(["| column | kind | what it holds |", "| --- | --- | --- |", *rows])


def _table(left: str, right: str, rows: list[str]) -> str:
    return "\n".join([f"| {left} | {right} |", "| --- | --- |", *rows])
