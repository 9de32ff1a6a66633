"""Where providers report counts and costs, and that a count that was not reported stays unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tapeline.pipeline.apis.usage import USAGE_PATHS, reported_cost, token_counts, usage_of
from tapeline.pipeline.wire.json_text import loads

OPENAI = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 3},
    "completion_tokens_details": {
        "reasoning_tokens": 32,
        "audio_tokens": 4,
        "accepted_prediction_tokens": 5,
        "rejected_prediction_tokens": 6,
    },
}
PROVIDERS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "openai": (
        OPENAI,
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "cached_tokens": 64,
            "reasoning_tokens": 32,
            "prompt_audio_tokens": 3,
            "completion_audio_tokens": 4,
            "accepted_prediction_tokens": 5,
            "rejected_prediction_tokens": 6,
        },
    ),
    "deepseek": (
        {"prompt_tokens": 9, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 1},
        {"prompt_tokens": 9, "cached_tokens": 8},
    ),
    "moonshot": ({"prompt_tokens": 9, "cached_tokens": 8}, {"prompt_tokens": 9, "cached_tokens": 8}),
    "openrouter": (
        {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 3}},
        {"prompt_tokens": 9, "cached_tokens": 2, "cache_write_tokens": 3},
    ),
    "litellm": (
        {
            "prompt_tokens": 9,
            "cache_read_input_tokens": 2,
            "cache_creation_input_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": None, "cache_creation_tokens": 3},
        },
        {"prompt_tokens": 9, "cached_tokens": 2, "cache_write_tokens": 3},
    ),
    "perplexity": ({"completion_tokens": 9, "reasoning_tokens": 4}, {"completion_tokens": 9, "reasoning_tokens": 4}),
    "names of the responses API": (
        {
            "input_tokens": 9,
            "output_tokens": 8,
            "input_tokens_details": {"cached_tokens": 2},
            "output_tokens_details": {"reasoning_tokens": 3},
        },
        {"prompt_tokens": 9, "completion_tokens": 8, "cached_tokens": 2, "reasoning_tokens": 3},
    ),
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_paths_of_the_counts(provider: str) -> None:
    usage, counts = PROVIDERS[provider]
    assert token_counts(usage) == dict.fromkeys(USAGE_PATHS) | counts


def test_openai_has_a_path_in_every_row() -> None:
    known = {column for column, count in token_counts(OPENAI).items() if count is not None}
    assert set(USAGE_PATHS) - known == {"cache_write_tokens"}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("7", 7),
        ("7.0", 7),
        ("7e2", 700),
        ("-0", 0),
        ("9223372036854775807", 9223372036854775807),
        ("9223372036854775808", None),
        ("9223372036854775808.0", None),
        ("null", None),
        ("-1", None),
        ("7.5", None),
        ("1e999999999", None),
        ("-1e999999999", None),
        ("0e999999999", 0),
        ('"7"', None),
        ("true", None),
        ("false", None),
        ("[7]", None),
        ("{}", None),
    ],
)
def test_a_count_is_a_whole_number_or_unknown(text: str, count: int | None) -> None:
    counts = token_counts({"prompt_tokens": loads(text)})
    assert counts["prompt_tokens"] == count
    assert isinstance(counts["prompt_tokens"], int | None)


@pytest.mark.parametrize("usage", [None, {}, [], 7, "many", {"prompt_tokens_details": 7}, {"prompt_tokens": None}])
def test_a_count_that_is_not_reported_is_unknown(usage: Any) -> None:
    assert set(token_counts(usage).values()) == {None}


def test_the_first_path_with_a_number_is_used() -> None:
    usage = {"prompt_tokens_details": {"cached_tokens": None}, "prompt_cache_hit_tokens": 0, "cached_tokens": 5}
    assert token_counts(usage)["cached_tokens"] == 0


@pytest.mark.parametrize(
    ("completion", "usage"),
    [
        (None, None),
        ({}, None),
        ({"usage": None}, None),
        ({"usage": {"prompt_tokens": 1}}, {"prompt_tokens": 1}),
        ({"usage": None, "x_groq": {"usage": {"prompt_tokens": 1}}}, {"prompt_tokens": 1}),
        ({"usage": {"prompt_tokens": 2}, "x_groq": {"usage": {"prompt_tokens": 1}}}, {"prompt_tokens": 2}),
        ({"x_groq": "req_1"}, None),
        ({"object": "transcribe", "transcribe": {"usage": {"prompt_tokens": 1}}}, {"prompt_tokens": 1}),
    ],
)
def test_the_paths_of_the_usage(completion: dict[str, Any] | None, usage: Any) -> None:
    assert usage_of(completion) == usage


LITELLM = ("x-litellm-response-cost", "0.00031")


@pytest.mark.parametrize(
    ("completion", "headers", "cost", "source"),
    [
        (None, [], None, None),
        ('{"usage": {"cost": 0.000350}}', [], "0.00035", "usage.cost"),
        ('{"usage": {"cost": 0}}', [], "0", "usage.cost"),
        ('{"usage": {"cost": "0.5"}}', [], "0.5", "usage.cost"),
        ('{"usage": {"total_cost": 1e-5}}', [], "0.00001", "usage.total_cost"),
        ('{"usage": {"cost": {"input_tokens_cost": 1, "total_cost": 2.5}}}', [], "2.5", "usage.cost.total_cost"),
        ('{"usage": {"cost": 1}}', [LITELLM], "1", "usage.cost"),
        ('{"usage": {"cost": null}}', [LITELLM], "0.00031", "x-litellm-response-cost"),
        (None, [("x-request-id", "7"), LITELLM], "0.00031", "x-litellm-response-cost"),
        (None, [("x-litellm-response-cost", "None")], None, None),
        (None, [("x-litellm-response-cost", "NaN")], None, None),
        (None, [("x-litellm-response-cost", "Infinity")], None, None),
        ('{"usage": {"cost": true}}', [], None, None),
        ('{"usage": {"cost": -1}}', [], None, None),
        ('{"usage": {"cost": 1e20}}', [], None, None),
        ('{"usage": {"cost": 1e999999999}}', [], None, None),
        ('{"usage": {"cost": 99999999999999999999.9}}', [], "99999999999999999999.9", "usage.cost"),
        # More digits than the column holds are rounded, because Polars panics at them.
        ('{"usage": {"cost": 5e-999999999}}', [], "0", "usage.cost"),
        ('{"usage": {"cost": 0.' + "1" * 60 + "}}", [], "0.111111111111", "usage.cost"),
    ],
)
def test_reported_cost(
    completion: str | None, headers: list[tuple[str, str]], cost: str | None, source: str | None
) -> None:
    reported = reported_cost(loads(completion) if completion else None, headers)
    assert reported == (None if cost is None else Decimal(cost), source)
