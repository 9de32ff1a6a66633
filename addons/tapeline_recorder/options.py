"""The recorder's mitmproxy options: what each is for, and which values it takes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from .data_directory import DEFAULT_DATA

#: Regular expression: the end of a path at which chat completions are requested.
DEFAULT_PATH = r"/chat/completions/?$"
# Images and recordings travel in bodies, of tens of megabytes at most; a body far above that is no chat completion.
DEFAULT_MAX_BODY = 256 * 1024 * 1024
REDACT = ("credentials", "none")
# The journal names these settings, and sealing follows them.
_FIXED = {"tapeline_data", "tapeline_run", "tapeline_redact", "tapeline_redact_pattern", "tapeline_content"}


def add_options(loader: Loader) -> None:
    """Add the options to mitmproxy's."""
    add = loader.add_option
    add("tapeline_data", str, DEFAULT_DATA, "Directory that holds the recordings.")
    add("tapeline_run", str, "", "Label of this recording; the time of its start if empty.")
    add("tapeline_path", str, DEFAULT_PATH, "Regular expression; a POST whose path matches is recorded.")
    add("tapeline_max_body", int, DEFAULT_MAX_BODY, "Bytes kept of each body; all of it passes.")
    add(
        "tapeline_redact",
        str,
        "credentials",
        "What is replaced in bodies: credentials of known formats, or none.",
        choices=REDACT,
    )
    add(
        "tapeline_redact_pattern",
        Sequence[str],
        [],
        "Regular expressions of further texts to replace: the group if there is one, else the whole match.",
    )
    add("tapeline_content", bool, True, "Keep the text of requests and responses; else only sizes, hashes and figures.")
    add("tapeline_seal", bool, True, "Seal while recording, in a second process, if Tapeline is installed.")


def check_options(updated: set[str], *, is_recording: bool) -> None:
    """Raise OptionsError for a value that does not work, and for a change that a running recording does not take."""
    for pattern in ctx.options.tapeline_redact_pattern if "tapeline_redact_pattern" in updated else ():
        compiled("tapeline_redact_pattern", pattern)
    if "tapeline_max_body" in updated and ctx.options.tapeline_max_body < 0:
        raise exceptions.OptionsError(f"tapeline_max_body is a number of bytes, not {ctx.options.tapeline_max_body}.")
    if is_recording and (changed := updated & _FIXED):
        raise exceptions.OptionsError(
            f"{' and '.join(sorted(changed))} cannot change while recording: restart to change it."
        )


def compiled(option: str, pattern: str) -> re.Pattern[str]:
    """Compile the pattern of an option. Raises OptionsError that names the option."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise exceptions.OptionsError(f"{option} is not a regular expression ({error}): {pattern!r}") from error
