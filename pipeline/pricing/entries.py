"""An entry says what some calls cost: prices of its own, or a change to the listed ones.

The user's entries come from a file (`prices_file`); those that come with Tapeline stand here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from .provider_tables import STANDARD_TIERS
from .rates import BEGINNING, END, Call, UnitPrices

#: In place of a provider: the one that the model's name begins with, as in `anthropic/claude-sonnet-4.5`.
LIKE_PREFIX = "prefix"


@dataclass(frozen=True)
class Size:
    """Prices for prompts of more tokens than this."""

    above_tokens: int
    units: UnitPrices


@dataclass(frozen=True)
class Entry:
    """One entry. What is None does not matter; patterns may hold `*`; times are microseconds, the end excluded."""

    label: str
    host: str | None = None
    provider: str | None = None
    model: str | None = None
    tier: str | None = None
    from_us: int = BEGINNING
    until_us: int = END
    #: Own prices by the size of the prompt, the smallest first; none where the listed ones are changed.
    sizes: tuple[Size, ...] = ()
    #: A provider of the list, a model of it (`openai/gpt-4o`), or LIKE_PREFIX.
    like: str | None = None
    markup: Decimal = Decimal(0)
    tiers: dict[str, Decimal] = field(default_factory=dict)

    def covers(self, call: Call) -> bool:
        """Whether it is about such calls."""
        return (
            (self._host is None or any(map(self._host.fullmatch, (call.host, f"{call.host}:{call.port}"))))
            and (self._provider is None or self._provider.fullmatch(call.provider) is not None)
            and (self._model is None or any(map(self._model.fullmatch, call.models)))
            and (self.tier is None or is_tier(self.tier, call.tier))
        )

    def names(self, model: str) -> bool:
        """Whether it gives standard prices to this very model, wherever it is served; `*` alone names none."""
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
    """Whether a tier was served; all names of the standard one are the same."""
    return wanted == served or (wanted in STANDARD_TIERS and served in STANDARD_TIERS)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    """A pattern in which `*` alone means more than itself, whatever the case."""
    if text is None:
        return None
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.IGNORECASE | re.DOTALL)


BUILT_IN = (
    # "Cost breakdown (base cost + 10% commission)", its documentation of chat completions says.
    Entry("built in", host="api.router402.xyz", like=LIKE_PREFIX, markup=Decimal("0.10")),
)
