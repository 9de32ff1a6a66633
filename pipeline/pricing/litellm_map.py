"""Reads a user's copy of LiteLLM's price map, for models that neither entries nor the list have.

The map has no dates: its prices hold for every day, and a note says so. Impossible prices are ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..wire.json_text import loads
from .provider_tables import LITELLM_PROVIDERS, LITELLM_TIER_ENDINGS, STANDARD_TIERS
from .rates import ALL_TOKENS, NO_TOKENS, NoPrice, Price, UnitPrices, Window

SOURCE = "LiteLLM's map"
_NOTE = "of no date: the map has one price for all days"
# Our name -> the map's, in dollars a token, or a call.
_UNITS = {
    "input": "input_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "output": "output_cost_per_token",
    "reasoning": "output_cost_per_reasoning_token",
    "audio_input": "input_cost_per_audio_token",
    "audio_output": "output_cost_per_audio_token",
    "request": "input_cost_per_request",
}
_SIZE = re.compile(r"^input_cost_per_token_above_(\d+)k_tokens$")
# The most expensive token on any list costs 600 dollars a million; a call, some cents.
_MOST = Decimal("0.01")


@dataclass(frozen=True)
class LiteLLMMap:
    """The map, parsed when a price is first looked up; `version` is a hash of the file."""

    path: Path
    version: str

    @classmethod
    def at(cls, path: Path) -> LiteLLMMap:
        """Read the map in a file. Raises UsageError if the file is missing."""
        try:
            return cls(path, sha256(path.read_bytes()).hexdigest()[:12])
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}.") from error

    def prices(self, provider: str, models: tuple[str, ...], tier: str) -> list[Price]:
        """Return the prices of the first of these names that the provider has, by the size of the prompt. Raises
        NoPrice."""
        name, entry = self._find(LITELLM_PROVIDERS.get(provider, provider), models)
        if tier not in STANDARD_TIERS and tier not in LITELLM_TIER_ENDINGS:
            raise NoPrice(f"no price of {name} in service tier {tier} is known")
        sizes = sorted(int(found.group(1)) * 1000 for key in entry if (found := _SIZE.match(key)))
        return [
            Price(
                Window(above_tokens=above, up_to_tokens=up_to),
                _units(name, entry, LITELLM_TIER_ENDINGS.get(tier, ""), above),
                SOURCE,
                self.version,
                name,
                _NOTE,
            )
            for above, up_to in pairwise((NO_TOKENS, *sizes, ALL_TOKENS))
        ]

    def _find(self, provider: str, models: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
        for name in (named for model in models for named in (f"{provider}/{model}", model)):
            entry = self._entries.get(name)
            if isinstance(entry, dict) and entry.get("litellm_provider") == provider:
                return name, entry
        raise NoPrice(f"no price of {' or '.join(models) or 'a model without name'} at {provider} is known")

    @cached_property
    def _entries(self) -> dict[str, Any]:
        try:
            entries = loads(self.path.read_bytes())
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}.") from error
        if not isinstance(entries, dict):
            raise UsageError(f"{self.path} is no map of models: it has to be one JSON object.")
        return entries


def _units(name: str, entry: dict[str, Any], tier_ending: str, above: int) -> UnitPrices:
    size_ending = "" if above == NO_TOKENS else f"_above_{above // 1000}k_tokens"
    units: dict[str, Decimal] = {}
    for ours, theirs in _UNITS.items():
        value = entry.get(theirs + size_ending + tier_ending, entry.get(theirs + tier_ending) if size_ending else None)
        if isinstance(value, int | Decimal) and not isinstance(value, bool) and 0 <= value <= _MOST:
            units[ours] = Decimal(value)
    if not {"input", "output"} <= units.keys() and "request" not in units:
        raise NoPrice(f"{name} is not priced by tokens" + (f" in tier {tier_ending[1:]}" if tier_ending else ""))
    return UnitPrices(**units)
