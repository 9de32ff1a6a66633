"""Values and bytes that the property tests draw, and the settings they run with."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tapeline.pipeline.wire.json_text import dumps, loads
from tests.support.places import DATA

#: The same examples in every run, so that a run says something of the code and nothing of chance.
examples = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    """The body cut at these places, counted round its end."""
    places = sorted({cut % (len(body) + 1) for cut in cuts})
    return [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]


cuts = st.lists(st.integers(0, 10_000), max_size=12)

text = st.text(st.characters(), max_size=6)  # half surrogate pairs and NUL among them
number = st.one_of(
    st.integers(-5, 5),
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.decimals(allow_nan=False, allow_infinity=False),
)
scalar = st.one_of(st.none(), st.booleans(), number, text)
# Through JSON once, where two halves of a surrogate pair become a character.
json_value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
).map(lambda value: loads(dumps(value)))


def object_with(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, each of its kind or of any, and with others."""
    known = st.fixed_dictionaries({}, optional={name: kind | json_value for name, kind in fields.items()})
    others = st.dictionaries(text, json_value, max_size=2)
    return st.builds(lambda ours, theirs: theirs | ours, known, others)


# Bodies.

BODIES = [path.read_bytes() for path in sorted((DATA / "streams").glob("*.sse"))]
SCRAPS = (
    b'data: |\n\n|\r|{|}|"choices":[|{"index":0,|"delta":{|"tool_calls":[{|]|,|"error":|null|"content":"|"|\\ud83d|'
    b"\xf0\x9f|1e999999999|[DONE]|event: error\n|\x1f\x8b|\x00|\xef\xbb\xbf|\x28\xb5\x2f\xfd|: \n|<html>"
).split(b"|")
scraps = st.lists(st.sampled_from(SCRAPS), max_size=20).map(b"".join)


def edited(body: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """The body with a few pieces left out and others put in."""
    for place, length, scrap in edits:
        start = place % (len(body) + 1)
        body = body[:start] + scrap + body[start + length :]
    return body


edits = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 9), st.sampled_from([b"", *SCRAPS])), max_size=4)
any_body = st.one_of(st.binary(max_size=200), scraps, st.builds(edited, st.sampled_from(BODIES), edits))
