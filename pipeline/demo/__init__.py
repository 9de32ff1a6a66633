"""A provider of chat completions on loopback: what `tapeline demo` and the tests talk to.

It answers over real sockets, from tables, and connects to nothing. `answers` holds what it says, `dialects`
how each system spells it, `server` puts it on the wire and notes what was sent, `workload` is a client.
"""

from __future__ import annotations

from ..wire.json_text import JsonObject
from .answers import ANSWERS, CannedAnswer, Choice, Cut, HiddenTokens, Pace, ToolCall, completion, find_answer
from .server import BuiltInProvider, Ended, Sent
from .systems import (
    DEFAULT,
    DIALECTS,
    Dialect,
    Problem,
    UsagePlace,
    chunks,
    dialect_for,
    fragments,
    reports_usage,
)
from .workload import WORKLOAD, Call, CallResult, run_workload

__all__ = [
    "ANSWERS",
    "DEFAULT",
    "DIALECTS",
    "WORKLOAD",
    "BuiltInProvider",
    "Call",
    "CallResult",
    "CannedAnswer",
    "Choice",
    "Cut",
    "Dialect",
    "Ended",
    "HiddenTokens",
    "JsonObject",
    "Pace",
    "Problem",
    "Sent",
    "ToolCall",
    "UsagePlace",
    "chunks",
    "completion",
    "dialect_for",
    "find_answer",
    "fragments",
    "reports_usage",
    "run_workload",
]
