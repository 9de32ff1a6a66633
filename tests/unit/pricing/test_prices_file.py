"""A file of one's own prices: the documented example, and one clear line for each thing that is wrong in one."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from tests.support.journals.journals import NOON_US
from tests.support.places import ROOT

from tapeline.pipeline.errors import UsageError
from tapeline.pipeline.pricing.price_book import PriceBook
from tapeline.pipeline.pricing.prices_file import read_prices_file
from tapeline.pipeline.pricing.rates import Call, Price

PAGE = ROOT / "docs" / "costs.md"
MILLION = 1_000_000


def in_readme() -> str:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(example)


def written(folder: Path, text: str) -> Path:
    path = folder / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return path


def at_noon(prices: list[Price], prompt_tokens: int = 100) -> Price:
    (holds,) = [
        price
        for price in prices
        if price.window.from_us <= NOON_US < price.window.until_us
        and price.window.above_tokens < prompt_tokens <= price.window.up_to_tokens
    ]
    return holds


def per_million(price: Price) -> tuple[Decimal | None, ...]:
    units = (price.units.input, price.units.cached, price.units.output)
    return tuple(None if unit is None else unit * MILLION for unit in units)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Call("localhost", 8000, "localhost:8000", "qwen3", "qwen3", ""), ("0", "0", "0")),
        (Call("llm.example", 443, "llm.example", "big-1", "big-1", ""), ("4", "1", "12.5")),
        (Call("llm.example", 443, "llm.example", "big-1", "big-1", "flex"), ("2", "0.5", "6.25")),
        (Call("localhost", 4000, "localhost:4000", "team-model", "team-model", ""), ("2.75", "1.375", "11")),
        (Call("api.openai.com", 443, "openai", "gpt-4o", "gpt-4o", ""), ("2.125", "1.0625", "8.5")),
    ],
)
def test_the_example_in_the_readme_prices_what_it_says(
    tmp_path: Path, call: Call, expected: tuple[str | None, ...]
) -> None:
    book = PriceBook(read_prices_file(written(tmp_path, in_readme())))
    price = at_noon(book.prices(call))
    assert price.problem is None
    assert per_million(price) == tuple(None if unit is None else Decimal(unit) for unit in expected)


def test_the_example_has_a_price_for_each_call_and_for_large_prompts(tmp_path: Path) -> None:
    book = PriceBook(read_prices_file(written(tmp_path, in_readme())))
    (flat,) = book.prices(Call("images.example", 443, "images.example", "m", "m", ""))
    assert (flat.units.request, flat.units.input) == (Decimal("0.04"), None)
    big = book.prices(Call("llm.example", 443, "llm.example", "big-1", "big-1", ""))
    assert per_million(at_noon(big, prompt_tokens=200_000)) == tuple(map(Decimal, ("4", "1", "12.5")))
    assert per_million(at_noon(big, prompt_tokens=200_001)) == tuple(map(Decimal, ("8", "1", "18.75")))
    before = [price for price in big if price.window.until_us <= NOON_US]
    assert before
    assert all(price.problem for price in before)


PRICE = '[[price]]\nhost = "h"\ninput = 1\noutput = 2\n'
#: What is in the file, and a word that the line has to say.
WRONG = {
    "not TOML": ("[[price]\n", "is not TOML"),
    "something else": ("[prices]\ninput = 1\n", "'prices'"),
    "one bracket": ("[price]\ninput = 1\n", "two brackets"),
    "an unknown name": (PRICE + "inptu = 1\n", "'inptu'"),
    "an unknown name in a size": (PRICE + "above = [{ prompt_tokens = 5, inptu = 1 }]\n", "'inptu'"),
    "input alone": ('[[price]]\nhost = "h"\ninput = 1\n', "both input and output"),
    "no price": ('[[price]]\nhost = "h"\n', "it says no price"),
    "a text for a number": (PRICE.replace("1", '"1"'), "input must be a number"),
    "a truth for a number": (PRICE.replace("1", "true"), "input must be a number"),
    "less than nothing": (PRICE.replace("1", "-1"), "input must be a number"),
    "no number": (PRICE.replace("1", "nan"), "input must be a number"),
    "dollars a token taken for a million": (PRICE.replace("1", "2_500_000"), "from 0 to 10000"),
    "a number for a name": (PRICE.replace('"h"', "5"), "host must be a text"),
    "a name of nothing": (PRICE.replace('"h"', '" "'), "host must be a text"),
    "a day in quotes": (PRICE + 'from = "2026-01-01"\n', "from must be a day"),
    "an end before its start": (PRICE + "from = 2026-02-01\nuntil = 2026-02-01\n", "until must be later"),
    "prices of its own and of the list": (PRICE + 'like = "openai"\n', "like takes listed prices"),
    "like nothing": ('[[price]]\nlike = "/"\n', "like is a provider"),
    "a size without its tokens": (PRICE + "above = [{ input = 1 }]\n", "prompt_tokens"),
    "a size that no prompt has": (PRICE + "above = [{ prompt_tokens = 99999999999999999999 }]\n", "of its own"),
    "a size twice": (PRICE + "above = [{ prompt_tokens = 5 }, { prompt_tokens = 5 }]\n", "of its own"),
    "sizes that are no list": (PRICE + "above = 5\n", "above is a list"),
    "tiers that are no table": (PRICE + "tiers = 0.5\n", "tiers names factors"),
    "a factor beyond belief": (PRICE + "tiers = { flex = 50 }\n", "flex must be a number"),
    "a markup below nothing": (PRICE + "markup = -2\n", "markup must be a number"),
    "a map that is no name": ("litellm = 5\n" + PRICE, "litellm is the name of a file"),
    "a map that is not there": ('litellm = "nowhere.json"\n' + PRICE, "nowhere.json cannot be read"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    text, word = WRONG[name]
    with pytest.raises(UsageError) as caught:
        read_prices_file(written(tmp_path, text))
    message = str(caught.value)
    assert word in message
    assert str(tmp_path) in message
    assert "\n" not in message


def test_a_map_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text("[1]")
    book = PriceBook(read_prices_file(written(tmp_path, 'litellm = "map.json"\n' + PRICE)))
    with pytest.raises(UsageError, match=r"map\.json is no map of models"):
        book.prices(Call("nobody.example", 443, "nobody.example", "m", "m", ""))


def test_another_map_is_another_version(tmp_path: Path) -> None:
    path = written(tmp_path, 'litellm = "map.json"\n' + PRICE)
    versions = set()
    for content in ("{}", '{"a": {}}'):
        (tmp_path / "map.json").write_text(content)
        versions.add(read_prices_file(path).version)
    assert len(versions) == 2
