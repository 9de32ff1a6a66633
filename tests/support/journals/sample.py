"""A small recording with fixed times, for the samples in the documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tests.support.journals.comparison import make_run
from tests.support.journals.journals import MadeUp
from tests.support.journals.streamed import streamed

RATE_LIMITED = {"error": {"message": "Rate limit reached", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}
WORDS = ("The ", "router ", "hums ", "along, ", "packets ", "find ", "their ", "way ", "back ", "home.")


def make_sample(data: Path) -> None:
    """Write run `evals`: three models at two providers, streamed and not, one failure, one answer cut for length."""
    make_run(data, "evals", list(_exchanges()))


def _exchanges() -> Iterator[MadeUp]:
    for number in range(6):
        yield _stream("gpt-4.1", "api.openai.com", first_us=310_000 + 40_000 * number, step_us=21_000, number=number)
    for number in range(4):
        step_us = 35_000 + 4_000 * number
        yield _stream("anthropic/claude-sonnet-4.5", "openrouter.ai", first_us=620_000, step_us=step_us, number=number)
    for number in range(5):
        yield MadeUp(
            content=f"Label review {number}.",
            model="gpt-4.1-mini",
            text="positive",
            usage=_usage(240 + number, 1),
            answered_us=420_000 + 30_000 * number,
            ended_us=421_000 + 30_000 * number,
        )
    yield MadeUp(
        content="Summarize the minutes.",
        model="gpt-4.1-mini",
        text="The committee met and",
        finish_reason="length",
        usage=_usage(1_830, 512),
        answered_us=4_100_000,
        ended_us=4_102_000,
    )
    yield MadeUp(
        content="Label review 5.",
        model="gpt-4.1-mini",
        body=json.dumps(RATE_LIMITED).encode(),
        status=429,
        ended_us=90_000,
    )


def _stream(model: str, host: str, *, first_us: int, step_us: int, number: int) -> MadeUp:
    deltas = [(first_us + step_us * place, {"content": word}) for place, word in enumerate(WORDS)]
    return streamed(
        *deltas,
        content=f"Write a haiku about router {number}.",
        model=model,
        host=host,
        reported_usage=_usage(18, 12 + number),
        params={"stream": True, "stream_options": {"include_usage": True}},
    )


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
