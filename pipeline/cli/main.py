"""The command line: the group of commands, and the only place where an error becomes a message and an exit code.

A command parses its options, makes one call and prints the result. It imports heavy modules only when it runs, so that
`tapeline --help` is fast.
"""

from __future__ import annotations

import os
import sys
from typing import Any, override

import click

from ..errors import ExitCode, TapelineError
from .commands.demo import demo
from .commands.diff import diff
from .commands.doctor import doctor
from .commands.export import export
from .commands.import_files import import_files
from .commands.load import load, seal
from .commands.record import record
from .commands.replay import replay
from .commands.report import report, runs
from .commands.serve import serve
from .commands.show import show
from .commands.sql import sql
from .commands.tail import tail

INTERRUPTED = 130


class _Commands(click.Group):
    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of the output, `head` for example, has closed it. That is not a failure, and the interpreter
            # must not try to flush the output again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.OK


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tapeline", prog_name="tapeline")
def tapeline() -> None:
    """Record chat-completion traffic and measure it.

    \b
    tapeline demo                        see it work, without network or key
    tapeline record -- python my_app.py  record the requests of a program
    tapeline report                      see what was recorded
    """


COMMANDS = (
    demo, record, load, report, runs, diff, show, tail, sql, replay, serve, export, import_files, doctor, seal,
)  # fmt: skip
for command in COMMANDS:
    tapeline.add_command(command)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line, and return the exit code."""
    try:
        code = tapeline.main(arguments, prog_name="tapeline", standalone_mode=False)
    except TapelineError as error:
        _print_error(str(error))
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return code if isinstance(code, int) else ExitCode.OK


def _print_error(message: str) -> None:
    from ..wire.terminal_text import one_line

    click.echo(f"Error: {one_line(message)}", err=True)
