"""Calls whose costs are worked out by hand, and the reports on them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.support.journals.journals import DAY_US, NOON_US
from tests.support.processes.recorder import tapeline_here

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("look", "find")]
LONG = "Once upon a time there was a prompt. " * 20

#: What is asked for and reported, and what it costs by the unit prices: gpt-4o 2.5, cached 1.25, output 10 dollars a
#: million; gpt-4o-mini 0.15, 0.075, 0.6.
CALLS: dict[str, tuple[dict[str, Any], str | None]] = {
    "cached": (
        {
            "model": "gpt-4o",
            "params": {"user": "ann", "tools": TOOLS},
            "usage": {
                "prompt_tokens": 1000,
                "completion_tokens": 500,
                "prompt_tokens_details": {"cached_tokens": 400},
                "cost": 0.0070,
            },
        },
        "0.007",
    ),
    "small": ({"params": {"user": "ann"}, "usage": {"prompt_tokens": 2000, "completion_tokens": 100}}, "0.00036"),
    "next day": (
        {
            "model": "gpt-4o",
            "params": {"user": "bob"},
            "usage": {"prompt_tokens": 3000, "completion_tokens": 10, "cost": 0.008},
            "started_at_us": NOON_US + DAY_US,
        },
        "0.0076",
    ),
    "failed with usage": (
        {
            "answered": {"error": {"message": "cut"}},
            "usage": {"prompt_tokens": 100, "completion_tokens": 10},
            "started_at_us": NOON_US + DAY_US,
        },
        "0.000021",
    ),
    "failed": ({"model": "gpt-4o", "status": 500, "usage": None}, None),
    "nobody knows": ({"model": "nobody-knows", "usage": {"prompt_tokens": 5, "completion_tokens": 5}}, None),
    "at home": ({"host": "localhost", "port": 8000, "usage": {"prompt_tokens": 1000, "completion_tokens": 0}}, None),
    "no model": ({"model": "gpt-4o", "usage": {"prompt_tokens": 3, "completion_tokens": 1}}, "0.0000175"),
}
PRICED = {name: Decimal(cost) for name, (_, cost) in CALLS.items() if cost is not None}


def document(data: Path, *options: str) -> dict[str, Any]:
    result = tapeline_here("report", *options, "--data", data, "--format", "json")
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout, parse_float=Decimal))


def rows(data: Path, *options: str) -> list[dict[str, Any]]:
    return list(document(data, *options)["rows"])


def money(*names: str) -> Decimal:
    return sum((PRICED[name] for name in names), Decimal(0))
