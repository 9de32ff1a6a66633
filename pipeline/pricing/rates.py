"""Rows that price calls: a kind of call, when and for which sizes of the prompt it holds, and dollars a token.

An unknown price is None, never 0. `warehouse/sql/costs.sql` applies the rows to tokens.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from decimal import Context, Decimal
from hashlib import sha256
from typing import Any, NamedTuple

# Microseconds since 1970, before and after all times.
BEGINNING = -(2**62)
END = 2**62
DAY_US = 86_400_000_000
# Every prompt has more tokens than the first, and none has more than the second.
NO_TOKENS = -1
ALL_TOKENS = 2**62

# Columns of `stored.rates` hold 25 digits, of which 24 are behind the point: a token never costs 10 dollars.
SMALLEST_RATE = Decimal("1E-24")
_COLUMN = Context(prec=60)


class Call(NamedTuple):
    """What decides a call's price besides time and tokens; an empty text means unknown."""

    host: str
    port: int
    provider: str
    model: str
    response_model: str
    tier: str

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the model; the one that answered comes first, since an alias may have been requested."""
        return tuple(dict.fromkeys(name for name in (self.response_model, self.model) if name))


@dataclass(frozen=True)
class UnitPrices:
    """Dollars a token, and a call or a search."""

    input: Decimal | None = None
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    output: Decimal | None = None
    reasoning: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    citation: Decimal | None = None
    request: Decimal | None = None
    search: Decimal | None = None

    @property
    def per_call_only(self) -> bool:
        """Return prices with which only the call costs something, not its tokens."""
        return self.request is not None and self.input is None and self.output is None

    def times(self, factor: Decimal) -> UnitPrices:
        """Return all prices times a factor, as exactly as the columns can hold."""
        changed = {
            name: _COLUMN.multiply(price, factor) for name in UNITS if (price := getattr(self, name)) is not None
        }
        return replace(
            self, **{name: price.quantize(SMALLEST_RATE, context=_COLUMN) for name, price in changed.items()}
        )

    @property
    def digest(self) -> str:
        """A hash of these prices."""
        return sha256(repr([str(getattr(self, name)) for name in UNITS]).encode()).hexdigest()[:12]


#: The names of the prices.
UNITS = tuple(unit.name for unit in fields(UnitPrices))


@dataclass(frozen=True)
class Window:
    """When a price holds: a span of time, the part of each day, and the size of the prompt. Ends are excluded."""

    from_us: int = BEGINNING
    until_us: int = END
    day_from_us: int = 0
    day_until_us: int = DAY_US
    above_tokens: int = NO_TOKENS
    up_to_tokens: int = ALL_TOKENS

    def within(self, from_us: int, until_us: int) -> Window | None:
        """Return the part of the window that lies in a span of time."""
        start, end = max(self.from_us, from_us), min(self.until_us, until_us)
        return replace(self, from_us=start, until_us=end) if start < end else None


@dataclass(frozen=True)
class Price:
    """A price with its window and its source; `problem` is why there is none, `note` a remark on it."""

    window: Window = field(default_factory=Window)
    units: UnitPrices = field(default_factory=UnitPrices)
    source: str | None = None
    version: str | None = None
    name: str | None = None
    note: str | None = None
    problem: str | None = None


class NoPrice(Exception):
    """No price is known; the text is why. It never leaves this package."""


def row_of(call: Call, price: Price) -> dict[str, Any]:
    """Return a row of `stored.rates`; numbers are text, so that no digit gets lost."""
    units = {name: None if (unit := getattr(price.units, name)) is None else format(unit, "f") for name in UNITS}
    about = {name: getattr(price, name) for name in ("source", "version", "name", "note", "problem")}
    digest = None if price.problem else price.units.digest
    per_call_only = price.units.per_call_only
    return {
        **call._asdict(),
        **asdict(price.window),
        **units,
        **about,
        "digest": digest,
        "per_call_only": per_call_only,
    }
