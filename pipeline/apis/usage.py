"""Reads token counts from a provider's `usage` object, by a table of the names that providers use.

A count that was not reported is None, never 0. Fields that the table does not name stay in the raw object.
"""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation
from typing import Any, cast

from .rows import TokenColumns

Path = tuple[str, ...]

# Column -> its possible paths in `usage`; the first that has a count is used. The first path of each is OpenAI's:
# https://platform.openai.com/docs/api-reference/chat/object
USAGE_PATHS: dict[str, tuple[Path, ...]] = {
    "prompt_tokens": (("prompt_tokens",), ("input_tokens",)),
    "completion_tokens": (("completion_tokens",), ("output_tokens",)),
    "total_tokens": (("total_tokens",),),
    "cached_tokens": (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("prompt_cache_hit_tokens",),  # DeepSeek
        ("cache_read_input_tokens",),  # Anthropic's name, passed on by proxies
        ("cached_tokens",),  # Moonshot
    ),
    "cache_write_tokens": (
        ("prompt_tokens_details", "cache_write_tokens"),  # OpenRouter
        ("prompt_tokens_details", "cache_creation_tokens"),  # LiteLLM
        ("cache_creation_input_tokens",),  # Anthropic's name, passed on by proxies
    ),
    "reasoning_tokens": (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
        ("reasoning_tokens",),  # xAI, Perplexity
    ),
    "prompt_audio_tokens": (("prompt_tokens_details", "audio_tokens"),),
    "completion_audio_tokens": (("completion_tokens_details", "audio_tokens"),),
    "accepted_prediction_tokens": (("completion_tokens_details", "accepted_prediction_tokens"),),
    "rejected_prediction_tokens": (("completion_tokens_details", "rejected_prediction_tokens"),),
}

# Possible paths of the usage in a completion; the first that has one is used.
USAGE_PLACES: tuple[Path, ...] = (
    ("usage",),
    ("x_groq", "usage"),  # Groq's streams without `include_usage`
    ("transcribe", "usage"),  # Bifrost's transcriptions
    ("extra_fields", "billed_usage"),  # Bifrost: what the provider billed, where it reported nothing else
)

# Where providers report what a call cost, in US dollars: name of the source -> path in the completion.
COST_PATHS: dict[str, Path] = {
    "usage.cost": ("usage", "cost"),  # OpenRouter
    "usage.total_cost": ("usage", "total_cost"),
    "usage.cost.total_cost": ("usage", "cost", "total_cost"),  # Perplexity
}
# Headers in which proxies report it (LiteLLM).
COST_HEADERS = ("x-litellm-response-cost",)

# The column holds 38 digits, 12 of them after the point. A greater number is not money, and more decimals are rounded.
MAX_COST = Decimal(10) ** 20
SMALLEST_COST = Decimal("1E-12")
_COLUMN = Context(prec=38, traps=[])


def usage_of(completion: dict[str, Any] | None) -> Any:
    """Return the usage that a completion reports, or None."""
    return next((usage for path in USAGE_PLACES if (usage := _at(completion, path)) is not None), None)


def token_counts(usage: Any) -> TokenColumns:
    """Return the token columns; a count that `usage` does not report as a whole number is None."""
    counts = {
        column: next((count for path in paths if (count := _count(_at(usage, path))) is not None), None)
        for column, paths in USAGE_PATHS.items()
    }
    return cast(TokenColumns, counts)


def reported_cost(
    completion: dict[str, Any] | None, headers: list[tuple[str, str]]
) -> tuple[Decimal | None, str | None]:
    """Return the cost that the provider reported, in US dollars, and the name of its source."""
    for source, path in COST_PATHS.items():
        if (cost := _money(_at(completion, path))) is not None:
            return cost, source
    for name, value in headers:
        if name in COST_HEADERS and (cost := _money(value)) is not None:
            return cost, name
    return None, None


def _at(value: Any, path: Path) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _count(value: Any) -> int | None:
    # The size is checked first: 1e999999999 as an int would need all memory.
    if isinstance(value, Decimal) and 0 <= value < 2**63 and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        return None
    return value


def _money(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        cost = Decimal(value)
    except InvalidOperation:
        return None
    if not cost.is_finite() or not 0 <= cost < MAX_COST:
        return None
    return cost.quantize(SMALLEST_COST, context=_COLUMN)
