"""A provider of chat completions on loopback, for `tapeline demo` and the tests.

It responds over real sockets, from tables, and connects to nothing. `answers` holds the canned answers, `systems` how
each real system spells them, `responses` plans the response to a request, `server` sends it and keeps a list of what
was sent, and `workload` is a client.
"""

from __future__ import annotations

from ..wire.json_text import JsonObject
from .answers import ANSWERS, CannedAnswer, Choice, Cut, HiddenTokens, Pace, ToolCall, completion, find_answer
from .responses import Ended
from .server import BuiltInProvider, SentResponse
from .systems import (
    DEFAULT,
    SYSTEMS,
    Problem,
    System,
    UsagePlace,
    chunks,
    fragments,
    reports_usage,
    system_for,
)
from .workload import WORKLOAD, Call, CallResult, run_workload

__all__ = [
    "ANSWERS",
    "DEFAULT",
    "SYSTEMS",
    "WORKLOAD",
    "BuiltInProvider",
    "Call",
    "CallResult",
    "CannedAnswer",
    "Choice",
    "Cut",
    "Ended",
    "HiddenTokens",
    "JsonObject",
    "Pace",
    "Problem",
    "SentResponse",
    "System",
    "ToolCall",
    "UsagePlace",
    "chunks",
    "completion",
    "find_answer",
    "fragments",
    "reports_usage",
    "run_workload",
    "system_for",
]
