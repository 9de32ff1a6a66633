"""Reads the user's own prices from a TOML file, and reports a mistake in it in one line.

Prices are dollars for a million tokens, as providers list them. Tokens that an entry does not price cost what their
whole costs: cached, written and audio tokens as input, reasoning and audio as output.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

from ..errors import UsageError
from .entries import LIKE_PREFIX, Entry, Size
from .litellm_map import LiteLLMMap
from .rates import ALL_TOKENS, NO_TOKENS, UnitPrices

#: Looked for in the data directory.
FILE_NAME = "prices.toml"
SOURCE = "prices.toml"

# The most expensive token on any list costs 600 dollars a million; higher prices are typing errors.
MAX_PER_MILLION = Decimal(10_000)
MAX_PER_REQUEST = Decimal(10_000)
MAX_FACTOR = Decimal(10)
_TOKENS = (
    "input",
    "cached",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
    "audio_input",
    "audio_output",
)
_PRICES = (*_TOKENS, "request")
_PART_OF = (
    ("cached", "input"),
    ("cache_write", "input"),
    ("cache_write_1h", "cache_write"),
    ("audio_input", "input"),
    ("reasoning", "output"),
    ("audio_output", "output"),
)
_EPOCH = datetime.fromtimestamp(0, UTC)
_NAMES = ("host", "provider", "model", "tier", "like")


@dataclass(frozen=True)
class PricesFile:
    """The entries of a file; `version` is a hash of it and of the map that it names."""

    path: Path
    version: str
    entries: tuple[Entry, ...]
    litellm: LiteLLMMap | None = None


def read_prices_file(path: Path) -> PricesFile:
    """Read a file of prices. Raises UsageError that names the file, the entry and the way out."""
    try:
        data = path.read_bytes()
        document = tomllib.loads(data.decode("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not TOML: {error}. Correct it, or move it away to use the listed prices."
        ) from error
    for name in sorted(document.keys() - {"price", "litellm"}):
        raise UsageError(f"{path}: {name!r} is unknown; a file of prices holds [[price]] entries, and litellm.")
    entries = document.get("price", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{path}: write each entry under [[price]], with two brackets.")
    read = tuple(_Reader(path, number, entry).entry() for number, entry in enumerate(entries, 1))
    litellm = _litellm(path, document)
    version = sha256(data + (litellm.version.encode() if litellm else b"")).hexdigest()[:12]
    return PricesFile(path, version, read, litellm)


def _litellm(path: Path, document: dict[str, Any]) -> LiteLLMMap | None:
    """Return the copy of LiteLLM's map that the file names, relative to the file's folder."""
    if "litellm" not in document:
        return None
    if not isinstance(document["litellm"], str):
        raise UsageError(
            f'{path}: litellm is the name of a file, as in litellm = "model_prices.json", before any entry.'
        )
    return LiteLLMMap.at(path.parent / Path(document["litellm"]).expanduser())


@dataclass(frozen=True)
class _Reader:
    """Reads one entry."""

    path: Path
    number: int
    given: dict[str, Any]

    def entry(self) -> Entry:
        self._refuse_unknown(self.given, (*_NAMES, *_PRICES, "from", "until", "markup", "tiers", "above"))
        names = {name: self._text(name) for name in _NAMES if name in self.given}
        times = {f"{name}_us": self._time(name) for name in ("from", "until") if name in self.given}
        entry = Entry(f"entry {self.number}", **names, **times, sizes=self._sizes())  # type: ignore[arg-type]
        entry = replace(entry, tiers=self._tiers())
        if "markup" in self.given:
            entry = replace(entry, markup=self._number(self.given, "markup", Decimal(-1), MAX_FACTOR - 1))
        self._check(entry)
        return entry

    def _check(self, entry: Entry) -> None:
        if entry.from_us >= entry.until_us:
            self._fail("until must be later than from")
        if entry.like is not None and entry.sizes:
            self._fail("like takes listed prices, so it cannot stand beside prices of its own: leave one out")
        if not (entry.sizes or entry.like or entry.tiers or "markup" in self.given):
            self._fail("it says no price: give input and output, request, like, markup or tiers")
        if entry.like is not None and not entry.like.strip("/"):
            self._fail(f"like is a provider (openai), a model of one (openai/gpt-4o), or {LIKE_PREFIX!r}")

    def _sizes(self) -> tuple[Size, ...]:
        if not self.given.keys() & {*_PRICES, "above"}:
            return ()
        base = self._prices(self.given)
        if "request" not in base and not {"input", "output"} <= base.keys():
            self._fail("give both input and output (0 if it costs nothing), or request alone for a flat price")
        sizes = {NO_TOKENS: base}
        above = self.given.get("above", [])
        if not isinstance(above, list) or not all(isinstance(size, dict) for size in above):
            self._fail("above is a list, as in above = [{ prompt_tokens = 200_000, input = 5, output = 22.5 }]")
        for size in above:
            self._refuse_unknown(size, ("prompt_tokens", *_PRICES))
            tokens = size.get("prompt_tokens")
            if type(tokens) is not int or not 0 <= tokens < ALL_TOKENS or tokens in sizes:
                self._fail("each of above needs prompt_tokens, a whole number of its own")
            sizes[tokens] = base | self._prices(size)
        return tuple(Size(tokens, _units(sizes[tokens])) for tokens in sorted(sizes))

    def _prices(self, given: dict[str, Any]) -> dict[str, Decimal]:
        return {
            name: self._number(given, name, Decimal(0), MAX_PER_REQUEST if name == "request" else MAX_PER_MILLION)
            for name in _PRICES
            if name in given
        }

    def _tiers(self) -> dict[str, Decimal]:
        tiers = self.given.get("tiers", {})
        if not isinstance(tiers, dict):
            self._fail("tiers names factors, as in tiers = { flex = 0.5, priority = 1.75 }")
        return {name: self._number(tiers, name, Decimal(0), MAX_FACTOR) for name in tiers}

    def _number(self, given: dict[str, Any], name: str, least: Decimal, most: Decimal) -> Decimal:
        value = given[name]
        if type(value) is int:
            value = Decimal(value)
        if not isinstance(value, Decimal) or not value.is_finite() or not least <= value <= most:
            self._fail(f"{name} must be a number from {least} to {most}, and is {given[name]!s:.40}")
        return value

    def _text(self, name: str) -> str:
        value = self.given[name]
        if not isinstance(value, str) or not value.strip():
            self._fail(f'{name} must be a text in quotes, as in {name} = "gpt-4o*"')
        return str(value)

    def _time(self, name: str) -> int:
        value = self.given[name]
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        if not isinstance(value, datetime):
            self._fail(f"{name} must be a day or a time without quotes, as in {name} = 2026-01-01")
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (value - _EPOCH) // timedelta(microseconds=1)

    def _refuse_unknown(self, given: dict[str, Any], known: tuple[str, ...]) -> None:
        for name in sorted(given.keys() - set(known)):
            self._fail(f"{name!r} is unknown; known are {', '.join(known)}")

    def _fail(self, problem: str) -> NoReturn:
        raise UsageError(f"{self.path}, entry {self.number}: {problem}.")


def _units(prices: dict[str, Decimal]) -> UnitPrices:
    units = {name: prices[name].scaleb(-6) for name in _TOKENS if name in prices}
    if "request" in prices:
        units["request"] = prices["request"]
    for part, whole in _PART_OF:
        if part not in units and whole in units:
            units[part] = units[whole]
    return UnitPrices(**units)
