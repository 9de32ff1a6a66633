"""An entry prices some calls: it has prices of its own, or changes the listed ones.

The user's entries come from a file (`prices_file`); Tapeline's own are here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from .provider_tables import STANDARD_TIERS
from .rates import BEGINNING, END, Call, UnitPrices

#: Instead of a provider: the prefix of the model's name, as in `anthropic/claude-sonnet-4.5`.
LIKE_PREFIX = "prefix"


@dataclass(frozen=True)
class Size:
    """Prices for prompts of more tokens than this."""

    above_tokens: int
    units: UnitPrices


@dataclass(frozen=True)
class Entry:
    """One entry. A condition that is None always holds; patterns may hold `*`; times are microseconds, the end
    excluded."""

    label: str
    host: str | None = None
    provider: str | None = None
    model: str | None = None
    tier: str | None = None
    from_us: int = BEGINNING
    until_us: int = END
    #: Own prices by the size of the prompt, smallest first; empty if the listed ones are changed.
    sizes: tuple[Size, ...] = ()
    #: A provider of the list, a model of it (`openai/gpt-4o`), or LIKE_PREFIX.
    like: str | None = None
    markup: Decimal = Decimal(0)
    tiers: dict[str, Decimal] = field(default_factory=dict)

    def covers(self, call: Call) -> bool:
        """Whether the entry applies to such calls."""
        return (
            (self._host is None or any(map(self._host.fullmatch, (call.host, f"{call.host}:{call.port}"))))
            and (self._provider is None or self._provider.fullmatch(call.provider) is not None)
            and (self._model is None or any(map(self._model.fullmatch, call.models)))
            and (self.tier is None or is_tier(self.tier, call.tier))
        )

    def names(self, model: str) -> bool:
        """Whether the entry has standard prices for exactly this model, wherever it is served; a lone `*` names no
        model."""
        is_standard = self.tier is None or is_tier(self.tier, "")
        is_named = self._model is not None and self.model != "*" and self._model.fullmatch(model) is not None
        return bool(self.sizes) and is_standard and is_named

    @cached_property
    def _host(self) -> re.Pattern[str] | None:
        return _pattern(self.host)

    @cached_property
    def _provider(self) -> re.Pattern[str] | None:
        return _pattern(self.provider)

    @cached_property
    def _model(self) -> re.Pattern[str] | None:
        return _pattern(self.model)


def is_tier(wanted: str, served: str) -> bool:
    """Whether a tier was served; all names of the standard tier are equal."""
    return wanted == served or (wanted in STANDARD_TIERS and served in STANDARD_TIERS)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    """Return a pattern in which only `*` is special, and case does not matter."""
    if text is None:
        return None
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.IGNORECASE | re.DOTALL)


BUILT_IN = (
    # "Cost breakdown (base cost + 10% commission)", its documentation of chat completions says.
    Entry("built in", host="api.router402.xyz", like=LIKE_PREFIX, markup=Decimal("0.10")),
)
