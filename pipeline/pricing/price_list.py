"""Reads the price list in genai-prices: each price with its time and its sizes of the prompt.

The package is imported when a price is first looked up; its updates over the network are never started. Notes are added
where it would price silently: a tier without a price, a day before its first dated price, tokens that it cannot tell
apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING

from .provider_tables import MODEL_PREFIXES, STANDARD_TIERS, TIER_CONTEXTS, TIER_FACTORS
from .rates import ALL_TOKENS, BEGINNING, DAY_US, END, NO_TOKENS, NoPrice, Price, UnitPrices, Window

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant, Provider

SOURCE = "genai-prices"
# Name in the list -> ours, and by which power of ten the list divides.
_UNITS = {
    "input_mtok": ("input", 6),
    "cache_read_mtok": ("cached", 6),
    "cache_write_mtok": ("cache_write", 6),
    "cache_write_5m_mtok": ("cache_write", 6),
    "cache_write_1h_mtok": ("cache_write_1h", 6),
    "output_mtok": ("output", 6),
    "output_reasoning_mtok": ("reasoning", 6),
    "output_citation_mtok": ("citation", 6),
    "input_audio_mtok": ("audio_input", 6),
    "output_audio_mtok": ("audio_output", 6),
    "requests_kcount": ("request", 3),
    "web_searches_kcount": ("search", 3),
}
# Tokens that usage does not tell apart: if they have another price, that side of the call is unpriced.
_NOT_COUNTED_APART = {
    "input_image_mtok": "input",
    "input_video_mtok": "input",
    "output_image_mtok": "output",
    "output_video_mtok": "output",
}


def list_version() -> str:
    """Return the version of the installed list, without importing it."""
    return version(SOURCE)


def prices_listed(provider_id: str, models: tuple[str, ...], tier: str) -> list[Price]:
    """Return the prices of the first of these names that the provider has, for a served tier. Raises NoPrice."""
    provider, model = _find(provider_id, models)
    return _prices(provider, model, tier)


def prices_of_model(name: str) -> list[Price]:
    """Return the standard prices of `provider/model`, or of a name that one provider has."""
    from genai_prices.data_snapshot import get_snapshot

    provider_id, _, rest = name.partition("/")
    if rest:
        try:
            return prices_listed(provider_id, (rest,), "")
        except NoPrice:
            pass
    try:
        found = get_snapshot().find_provider_model(name, None, None, None)
    except LookupError as error:
        raise NoPrice(f"no price of {name} is known") from error
    return _prices(*found, "")


def _find(provider_id: str, models: tuple[str, ...]) -> tuple[Provider, ModelInfo]:
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    prefixes = MODEL_PREFIXES.get(provider_id, ())
    shortened = [name.removeprefix(prefix) for name in models for prefix in prefixes if name.startswith(prefix)]
    for name in (*models, *shortened):
        try:
            return snapshot.find_provider_model(name, None, provider_id, None)
        except LookupError:
            continue
    raise NoPrice(f"no price of {' or '.join(models) or 'a model without name'} at {provider_id} is known")


def _prices(provider: Provider, model: ModelInfo, tier: str) -> list[Price]:
    moments = _Moments.of(model, () if tier in STANDARD_TIERS else model.price_variants or ())
    prices: list[Price] = []
    for window in moments.windows():
        for price in _prices_at(provider, model, tier, moments, window):
            if prices and _goes_on(prices[-1], price):
                price = replace(price, window=replace(price.window, from_us=prices.pop().window.from_us))
            prices.append(price)
    return prices


def _prices_at(provider: Provider, model: ModelInfo, tier: str, moments: _Moments, window: Window) -> Iterator[Price]:
    """Return the prices in a window, in which only the size of the prompt makes a difference."""
    about = Price(window, source=SOURCE, version=list_version(), name=f"{provider.id}/{model.id}")
    if window.from_us == BEGINNING and moments.first_dated is not None:
        about = replace(about, note=f"before {moments.first_dated}, the first date in the list: the price before it")
    try:
        listed, factor = _listed_at(provider, model, tier, moments.inside(window))
    except NoPrice as reason:
        yield replace(about, problem=str(reason), note=None)
        return
    sizes = sorted({size for price in _set_prices(listed).values() for size in _sizes(price)})
    for above, up_to in pairwise((NO_TOKENS, *sizes, ALL_TOKENS)):
        units = _units(listed, above)
        if units.input is None and units.output is None and units.request is None:
            yield replace(about, problem=f"{about.name} is not priced by tokens", note=None)
            return
        yield replace(about, window=replace(window, above_tokens=above, up_to_tokens=up_to), units=units.times(factor))


def _listed_at(provider: Provider, model: ModelInfo, tier: str, at: datetime) -> tuple[ModelPrice, Decimal]:
    """Return the list's price for a tier at a moment, and the factor for the tier."""
    if tier in STANDARD_TIERS:
        return model.get_prices(at), Decimal(1)
    context = TIER_CONTEXTS.get(tier)
    if context is not None and _has_variant(provider, model, context, at):
        return model.get_prices(at, context), Decimal(1)
    if (provider.id, tier) in TIER_FACTORS:
        return model.get_prices(at), TIER_FACTORS[provider.id, tier]
    raise NoPrice(f"no price of {provider.id}/{model.id} in service tier {tier} is known for that day")


def _has_variant(provider: Provider, model: ModelInfo, context: dict[str, str], at: datetime) -> bool:
    # A model taken from another provider's list has that provider's tiers, which do not count here.
    if not any(model is own for own in provider.models):
        return False
    return any(
        variant.when == context
        and (variant.constraint is None or variant.constraint.active(at))
        and _set_prices(variant.prices)
        for variant in model.price_variants or ()
    )


def _set_prices(price: ModelPrice) -> dict[str, object]:
    return {name: value for name, value in vars(price).items() if value is not None}


def _sizes(price: object) -> list[int]:
    return [tier.start for tier in getattr(price, "tiers", ())]


def _units(listed: ModelPrice, above: int) -> UnitPrices:
    """Return dollars a token for prompts of more than `above` tokens, up to the next size in the list."""
    found = {name: _at_size(price, above) for name, price in _set_prices(listed).items()}
    units = {ours: found[name].scaleb(-power) for name, (ours, power) in _UNITS.items() if name in found}
    for name, side in _NOT_COUNTED_APART.items():
        if name in found and found[name].scaleb(-6) != units.get(side):
            units.pop(side, None)
    return UnitPrices(**units)


def _at_size(price: object, above: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    tiers = [tier for tier in price.tiers if tier.start <= above]  # type: ignore[attr-defined]
    return tiers[-1].price if tiers else price.base  # type: ignore[attr-defined, no-any-return]


def _goes_on(before: Price, after: Price) -> bool:
    """Whether one price continues the other from the days before."""
    span = replace(before.window, from_us=after.window.from_us, until_us=after.window.until_us)
    return before.window.until_us == after.window.from_us and replace(before, window=span) == after


@dataclass(frozen=True)
class _Moments:
    """When a model's prices may change: days, and times of the day. `first_dated` is the list's first date."""

    days_us: tuple[int, ...]
    times_us: tuple[int, ...]
    first_dated: date | None

    @classmethod
    def of(cls, model: ModelInfo, variants: Iterable[PriceVariant]) -> _Moments:
        from genai_prices.types import ModelPrice, StartDateConstraint, TimeOfDateConstraint

        days: set[date] = set()
        times: set[time] = set()
        standard = [] if isinstance(model.prices, ModelPrice) else [price.constraint for price in model.prices]
        for constraint in (*standard, *(variant.constraint for variant in variants)):
            if isinstance(constraint, StartDateConstraint):
                days.add(constraint.start_date)
            elif isinstance(constraint, TimeOfDateConstraint):
                times |= {constraint.start_time, constraint.end_time}
            elif constraint is not None:
                raise NoPrice(f"the price of {model.id} depends on what this version does not know")
        dated = [constraint.start_date for constraint in standard if isinstance(constraint, StartDateConstraint)]
        return cls(tuple(sorted(map(_day_us, days))), tuple(sorted(map(_time_us, times))), min(dated, default=None))

    def windows(self) -> Iterator[Window]:
        """Return every span of days with every part of the day, in order."""
        for day_from_us, day_until_us in pairwise((0, *self.times_us, DAY_US)):
            for from_us, until_us in pairwise((BEGINNING, *self.days_us, END)):
                if day_from_us < day_until_us:
                    yield Window(from_us, until_us, day_from_us, day_until_us)

    def inside(self, window: Window) -> datetime:
        """Return a moment in the window."""
        if window.from_us != BEGINNING:
            day_us = window.from_us
        elif window.until_us != END:
            day_us = window.until_us - DAY_US
        else:
            day_us = 0
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=day_us + window.day_from_us)


def _day_us(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp()) * 1_000_000


def _time_us(at: time) -> int:
    moment = datetime.combine(date(2000, 1, 1), at, at.tzinfo or UTC).astimezone(UTC)
    return ((moment.hour * 60 + moment.minute) * 60 + moment.second) * 1_000_000 + moment.microsecond
