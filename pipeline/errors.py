"""The errors that a user may see, and the exit code that goes with each.

    TapelineError            the base: one clear line, no traceback
      ├─ UsageError          something that was typed is wrong
      │    └─ MissingExtra   a feature whose packages are not installed
      └─ DataError           something on disk is not as it should be

The code that raises one names what is wrong and the way out; `cli.main` alone prints it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """What `tapeline` returns to the shell. `record -- CMD` returns the command's own code instead."""

    OK = 0
    #: A rule that was to be kept was broken: `diff --fail-on`.
    RULE = 1
    #: Wrong use: an unknown option, name or value, or a place that cannot be used.
    USAGE = 2
    #: Data on disk cannot be read or written.
    DATA = 3
    #: Not all requests that were sent again were answered.
    UNANSWERED = 4


class TapelineError(Exception):
    """Something a user can do something about; the message names the thing and the way out."""

    exit_code = ExitCode.DATA


class UsageError(TapelineError):
    """What was typed does not work."""

    exit_code = ExitCode.USAGE


class DataError(TapelineError):
    """A file is not as it should be."""


class MissingExtra(UsageError):
    """A feature needs packages that a plain install leaves out."""

    def __init__(self, extra: str, feature: str) -> None:
        super().__init__(f"{feature} needs packages that are not installed: pip install 'tapeline[{extra}]'")


@contextmanager
def needs_extra(extra: str, feature: str) -> Iterator[None]:
    """Import what an extra brings inside this block. Raises MissingExtra where one of its packages is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tapeline"):
            raise
        raise MissingExtra(extra, feature) from error
