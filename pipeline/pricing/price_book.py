"""Finds the price of a kind of call, and when it holds: in the user's entries, the built-in ones, then the list.

A copy of LiteLLM's map comes last, if the user's file names one.

Every moment is covered: where no price is known, a row says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from itertools import pairwise

from .entries import BUILT_IN, LIKE_PREFIX, Entry
from .price_list import prices_listed, prices_of_model
from .prices_file import SOURCE, PricesFile
from .provider_tables import LISTED_PROVIDERS, STANDARD_TIERS
from .rates import ALL_TOKENS, BEGINNING, END, Call, NoPrice, Price, Window


@dataclass(frozen=True)
class PriceBook:
    """All known prices: those of the user's file, if there is one, and the list."""

    file: PricesFile | None = None

    def prices(self, call: Call) -> list[Price]:
        """Return what such calls cost, at any time."""
        entries = [entry for entry in self._entries() if entry.covers(call)]
        return [
            replace(price, window=within)
            for from_us, until_us in _spans(entries)
            for price in self._prices_by(_first(entries, from_us), call)
            if (within := price.window.within(from_us, until_us))
        ]

    def prices_of(self, model: str) -> list[Price]:
        """Return what a model costs in its standard tier. Raises NoPrice."""
        entries = [entry for entry in self._entries() if entry.names(model)]
        try:
            others = self._prices_elsewhere(model)
        except NoPrice:
            if not entries:
                raise
            others = []
        return [
            replace(price, window=within)
            for from_us, until_us in _spans(entries)
            for price in self._standard(_first(entries, from_us), others)
            if (within := price.window.within(from_us, until_us))
        ]

    def _standard(self, entry: Entry | None, others: list[Price]) -> list[Price]:
        return others if entry is None else list(self._own(entry, ""))

    def _prices_elsewhere(self, model: str) -> list[Price]:
        """Return the prices of a model in the list, or else in the map that the user's file names."""
        try:
            return _model_prices(model)
        except NoPrice:
            provider, _, name = model.partition("/")
            if self.file is None or self.file.litellm is None:
                raise
            return self.file.litellm.prices(provider, (name,), "")

    def _entries(self) -> tuple[Entry, ...]:
        return (*(self.file.entries if self.file else ()), *BUILT_IN)

    def _prices_by(self, entry: Entry | None, call: Call) -> list[Price]:
        try:
            if entry is None:
                return self._looked_up(None, call, call.tier)
            if entry.sizes:
                return list(self._own(entry, call.tier))
            return self._changed(entry, call)
        except NoPrice as reason:
            return [Price(problem=str(reason))]

    def _own(self, entry: Entry, tier: str) -> Iterator[Price]:
        """Return an entry's own prices."""
        assert self.file is not None
        about = Price(source=SOURCE, version=self.file.version, name=_label(entry))
        factor = _tier_factor(entry, tier)
        ends = (*(size.above_tokens for size in entry.sizes), ALL_TOKENS)
        for size, (above, up_to) in zip(entry.sizes, pairwise(ends), strict=True):
            window = Window(above_tokens=above, up_to_tokens=up_to)
            yield replace(about, window=window, units=size.units.times(factor * (1 + entry.markup)))

    def _changed(self, entry: Entry, call: Call) -> list[Price]:
        """Return the listed prices as an entry changes them."""
        factor = 1 + entry.markup
        tier = call.tier
        if tier in entry.tiers:
            tier, factor = "", factor * entry.tiers[tier]
        return [
            replace(price, units=price.units.times(factor), name=f"{price.name}, {_label(entry)}")
            for price in self._looked_up(entry.like, call, tier)
        ]

    def _looked_up(self, like: str | None, call: Call, tier: str) -> list[Price]:
        """Return the list's prices; if it has none, those of the map that the user's file names."""
        provider, models = _asked(like, call)
        try:
            return _listed(_listed_id(like, provider, call), models, tier)
        except NoPrice:
            if self.file is None or self.file.litellm is None:
                raise
            return self.file.litellm.prices(provider, models, tier)


def _listed_id(like: str | None, provider: str, call: Call) -> str:
    """Return the provider's name in the list; a name in an entry is used as it is."""
    if like is not None:
        return LISTED_PROVIDERS.get(provider, provider)
    provider_id = LISTED_PROVIDERS.get(call.host) or LISTED_PROVIDERS.get(provider)
    if provider_id is None:
        raise NoPrice(f"no prices of {provider} are known")
    return provider_id


def _asked(like: str | None, call: Call) -> tuple[str, tuple[str, ...]]:
    """Return the provider and the names of the model to look for."""
    if like is None:
        return call.provider, call.models
    if like == LIKE_PREFIX:
        named = next((name for name in call.models if "/" in name), None)
        if named is None:
            raise NoPrice(f"no provider stands before the model {' or '.join(call.models) or 'that was not named'}")
        provider, _, model = named.partition("/")
        return provider, (model,)
    provider, _, model = like.partition("/")
    return provider, (model,) if model else call.models


def _tier_factor(entry: Entry, tier: str) -> Decimal:
    if tier in entry.tiers:
        return entry.tiers[tier]
    if tier in STANDARD_TIERS or entry.tier is not None:
        return Decimal(1)
    raise NoPrice(f"{_label(entry)} has no price for service tier {tier}: give it in tiers")


def _label(entry: Entry) -> str:
    mark = f" {entry.markup * 100:+f}".rstrip("0").rstrip(".") + " %" if entry.markup else ""
    return f"{SOURCE} {entry.label}{mark}" if entry not in BUILT_IN else f"{entry.label}{mark}"


def _first(entries: list[Entry], at_us: int) -> Entry | None:
    return next((entry for entry in entries if entry.from_us <= at_us < entry.until_us), None)


def _spans(entries: list[Entry]) -> Iterator[tuple[int, int]]:
    """Return spans of time in which the same entry comes first."""
    times = {BEGINNING, END, *(entry.from_us for entry in entries), *(entry.until_us for entry in entries)}
    return pairwise(sorted(times))


@cache
def _listed(provider_id: str, models: tuple[str, ...], tier: str) -> list[Price]:
    return prices_listed(provider_id, models, tier)


@cache
def _model_prices(model: str) -> list[Price]:
    return prices_of_model(model)
