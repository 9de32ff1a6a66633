"""JSON keeps digits and characters, and its canonical form depends on the value alone."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.strategies import examples, json_value, scraps, text
from tests.support.journals.streams import exact

from tapeline.pipeline.wire.json_text import NOT_JSON, canonical, dumps, loads

pytestmark = pytest.mark.slow

NUMBER = r"\A-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,5})?\Z"


@examples
@given(json_value)
def test_a_value_written_as_json_is_read_back(value: Any) -> None:
    written = dumps(value)
    written.encode("utf-8")
    assert exact(loads(written)) == exact(value)
    assert exact(loads(written.encode())) == exact(value)
    assert exact(loads(canonical(value))) == exact(loads(canonical(loads(written))))


@examples
@given(st.from_regex(NUMBER))
def test_a_number_keeps_its_digits(digits: str) -> None:
    assert Decimal(dumps(loads(digits))).as_tuple() == Decimal(digits).as_tuple()


@examples
@given(text)
def test_a_string_keeps_its_characters(value: str) -> None:
    assert loads(dumps(value)) == loads(json.dumps(value))


@examples
@given(st.binary(max_size=30) | scraps)
def test_bytes_that_are_no_json_do_not_raise(data: bytes) -> None:
    value = loads(data)
    if value is not NOT_JSON:
        assert exact(loads(dumps(value))) == exact(value)


def respelled(value: Any, zeros: int) -> str:
    """Return JSON text of the value with its keys in reverse order and its numbers in another spelling."""
    if isinstance(value, dict):
        members = [f"{json.dumps(name)}: {respelled(member, zeros)}" for name, member in reversed(value.items())]
        return "{ " + " , ".join(members) + "\n}"
    if isinstance(value, list):
        return "[" + ", ".join(respelled(member, zeros) for member in value) + "]"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        sign, digits, exponent = Decimal(value).as_tuple()
        assert isinstance(exponent, int)
        zeros = zeros if value else 0
        return f"{'-' * sign}{''.join(map(str, digits))}{'0' * zeros}e{exponent - zeros}"
    return json.dumps(value)


@examples
@given(json_value, st.integers(0, 3))
def test_canonical_json_depends_on_the_value_alone(value: Any, zeros: int) -> None:
    assert canonical(loads(respelled(value, zeros))) == canonical(value)


@examples
@given(st.from_regex(NUMBER), st.from_regex(NUMBER))
def test_canonical_json_differs_for_different_numbers(one: str, other: str) -> None:
    assert (canonical(loads(one)) == canonical(loads(other))) == (Decimal(one) == Decimal(other))
