"""What was typed as BASE or CANDIDATE: the name of a run, or filters between commas."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..errors import UsageError
from ..reports import FILTERS, Filters, read_time

GRAMMAR = f"Write RUN or filters between commas ({', '.join(f'{name}=…' for name in FILTERS)}): evals,model=gpt-4o."


def read_side(text: str, runs: Collection[str] = ()) -> Filters:
    """The filters that a side stands for. A text that is wholly the name of a run is that run."""
    if text in runs:
        return Filters(run=text)
    chosen: dict[str, Any] = {}
    for part in text.split(","):
        name, is_filter, value = part.partition("=")
        name, value = (name.strip(), value.strip()) if is_filter else ("run", part.strip())
        if name not in FILTERS or not value:
            raise UsageError(f"{part.strip()!r} of {text!r} names no side. {GRAMMAR}")
        if name in chosen:
            raise UsageError(f"{text!r} says {name} twice. {GRAMMAR}")
        chosen[name] = read_time(f"{name}=", value) if name in ("since", "until") else value
    return Filters(**chosen)
