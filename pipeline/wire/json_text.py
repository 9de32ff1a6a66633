"""Reads and writes JSON without changing it: numbers keep their digits, strings their characters, keys their order.

The standard library turns 0.10 into 0.1 and 1e400 into infinity; here a number with a fraction or an exponent becomes a
Decimal with the same digits. Text that is not JSON yields `NOT_JSON`, never an exception: anyone may have written it.
"""

from __future__ import annotations

import json
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from hashlib import sha256
from typing import Any

import simplejson

#: A JSON object.
type JsonObject = dict[str, Any]

# CPython refuses to convert longer digit strings to an int, because that takes long (sys.set_int_max_str_digits).
MAX_INT_DIGITS = 4300
# Functions that walk a value recurse up to three calls a level, and Python allows a depth of a thousand calls.
MAX_DEPTH = 128
# Larger whole numbers keep their exponent in canonical JSON: 1e999999 would be a million digits.
MAX_CANONICAL_DIGITS = 30
# Neither rounds nor signals, so that numbers of any size can be brought to their shortest form.
_EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])


class _NotJson:
    """Stands for the value of a text that is not JSON; `None` is the value of `null`."""

    def __repr__(self) -> str:
        return "NOT_JSON"

    def __bool__(self) -> bool:
        return False


NOT_JSON = _NotJson()


def loads(text: str | bytes | bytearray) -> Any:
    """Return the value of a JSON text (RFC 8259), or `NOT_JSON`; bytes are UTF-8, with or without a byte order mark."""
    try:
        if not isinstance(text, str):
            text = text.decode("utf-8-sig")
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return NOT_JSON
    return NOT_JSON if _is_too_deep(text, value) else value


def dumps(value: Any) -> str:
    """Return compact JSON text in the order of the keys, with the digits that `loads` kept; always valid UTF-8."""
    text = simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":"))
    if _is_unicode(text):
        return str(text)
    # Half a surrogate pair has no UTF-8 form, but JSON can escape it.
    return str(simplejson.dumps(value, use_decimal=True, ensure_ascii=True, separators=(",", ":")))


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no white space, one spelling for each number."""
    plain = _plain_numbers(value)
    return str(simplejson.dumps(plain, use_decimal=True, ensure_ascii=True, separators=(",", ":"), sort_keys=True))


def content_hash(value: Any) -> str:
    """Return 128 bits of the SHA-256 of the canonical text, in hexadecimal."""
    return sha256(canonical(value).encode("ascii")).hexdigest()[:32]


def join_surrogates(text: str) -> str:
    """Join the halves of surrogate pairs: servers that cut between JSON escapes send them in two fragments."""
    if _is_unicode(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def storable(text: str) -> str:
    """Return the text as UTF-8 can encode it: half a surrogate pair becomes U+FFFD."""
    if _is_unicode(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation as error:
        raise ValueError(digits[:40]) from error


def _integer(digits: str) -> int | Decimal:
    # An int cannot hold -0.
    return int(digits) if len(digits) <= MAX_INT_DIGITS and digits != "-0" else Decimal(digits)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Made once, because `json.loads` would make one for each text.
_DECODER = json.JSONDecoder(parse_float=_decimal, parse_int=_integer, parse_constant=_refuse)


def _is_too_deep(text: str, value: Any) -> bool:
    # Counting brackets is fast and spares nearly every text the walk.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [member for container in level for member in _members(container)]
        if not level:
            return False
    return True


def _members(value: Any) -> list[Any]:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [member for member in members if isinstance(member, dict | list)]


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_numbers(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(member) for member in value]
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return _plain_number(value)
    return value


def _plain_number(value: int | Decimal) -> int | Decimal:
    if isinstance(value, int) and abs(value) < 10**MAX_CANONICAL_DIGITS:
        return value
    shortest = Decimal(value).normalize(_EXACT)
    if not shortest:
        return 0
    is_whole = shortest == shortest.to_integral_value(context=_EXACT)
    return int(shortest) if is_whole and shortest.adjusted() < MAX_CANONICAL_DIGITS else shortest
