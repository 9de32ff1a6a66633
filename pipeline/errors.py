"""The errors that a user may see, and the exit code that goes with each.

    TapelineError            the base: one clear line, no traceback
      ├─ UsageError          something that was typed is wrong
      └─ DataError           something on disk is not as it should be

Whoever raises one knows the thing that is wrong and names the way out; `cli.main` alone prints it.
"""

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
