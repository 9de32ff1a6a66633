"""How two responses are compared: texts as words and as JSON, calls, and noise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.strategies import examples

from tapeline.pipeline.diff.compare import SPACES, SPELLING, compare_calls, compare_texts, judge, measure_spread
from tapeline.pipeline.diff.result import How
from tapeline.pipeline.diff.words import MOST_WORDS, bounded, pieces, shortened, words

pytestmark = pytest.mark.slow

TEXT = st.text(st.sampled_from("ab 12.,\n東京ไท\u200d_{}[]\":'é"), max_size=40)
CALLS = st.lists(
    st.tuples(st.sampled_from(["look", "wait"]), TEXT | st.sampled_from(['{"a":1}', '{"a": 1.0}'])), max_size=3
)


def how(base: str, candidate: str) -> How | None:
    verdict = compare_texts(base, candidate)
    return None if verdict is None else verdict.how


@pytest.mark.parametrize(
    ("base", "candidate", "expected"),
    [
        ("Hi.", "Hi.", None),
        ("Hi there.", " Hi\n\tthere. ", How.SPACES),
        ("notable", "not able", How.CHANGED),
        ('{"a": 1, "b": [1.0]}', '{"b":[1],"a":1}', How.SPELLING),
        ('{"a": 1}', '{"a": 2}', How.CHANGED),
        ("[1, 2]", "[2, 1]", How.CHANGED),
        ("Hi.", "Ho.", How.CHANGED),
        ("", "Hi.", How.CHANGED),
        ("東京は晴れ", "東京は 晴れ", How.SPACES),
    ],
)
def test_how_two_texts_differ(base: str, candidate: str, expected: How | None) -> None:
    assert how(base, candidate) == expected


def test_the_amount_is_the_share_of_words_that_only_one_text_has() -> None:
    verdict = compare_texts("one two three four", "one two three five")
    assert verdict is not None
    assert verdict.amount == pytest.approx(0.25)
    nothing_shared = compare_texts("one two", "three four five")
    assert nothing_shared is not None
    assert nothing_shared.amount == 1


def test_scripts_without_spaces_are_compared_by_character() -> None:
    assert words("東京は晴れ, fine") == ["東", "京", "は", "晴", "れ", ",", "fine"]
    verdict = compare_texts("東京は晴れ", "京都は晴れ")
    assert verdict is not None
    assert 0 < verdict.amount < 0.5


@examples
@given(st.text(st.characters(max_codepoint=127)))
def test_words_do_not_depend_on_other_scripts_in_the_text(text: str) -> None:
    assert words(f"{text} 東") == [*words(text), "東"]


@examples
@given(TEXT)
def test_a_text_does_not_differ_from_itself(text: str) -> None:
    assert compare_texts(text, text) is None
    assert all(piece.is_same for piece in pieces(text, text))


@examples
@given(TEXT, TEXT)
def test_texts_differ_as_much_in_either_direction(base: str, candidate: str) -> None:
    assert compare_texts(base, candidate) == compare_texts(candidate, base)


@examples
@given(CALLS, CALLS)
def test_calls_differ_as_much_in_either_direction_and_not_from_themselves(base: Any, candidate: Any) -> None:
    one, other = json.dumps(base), json.dumps(candidate)
    assert compare_calls(one, one) is None
    assert compare_calls(one, other) == compare_calls(other, one)
    assert compare_calls(one, json.dumps(base[::-1])) in (None, SPELLING)


@examples
@given(TEXT, TEXT)
def test_pieces_together_are_the_texts(base: str, candidate: str) -> None:
    cut = pieces(base, candidate)
    assert "".join(piece.base for piece in cut) == base
    assert "".join(piece.candidate for piece in cut) == candidate
    assert all(words(piece.base) == words(piece.candidate) for piece in cut if piece.is_same)


def test_very_long_texts_are_cut_visibly() -> None:
    base, candidate = "a " * (MOST_WORDS + 5), "a " * MOST_WORDS + "b b"
    last = pieces(base, candidate)[-1]
    assert (last.base, last.candidate) == (" [… 5 more words]", " [… 2 more words]")
    same = " ".join(map(str, range(100)))
    (before, change) = shortened(pieces(f"{same} old", f"{same} new"), 5)
    assert before.candidate == " [… 95 words] 95 96 97 98 99 "
    assert change.candidate == "new"
    assert sum(len(piece.candidate) for piece in bounded(pieces("a", "b" * 99), 10)) < 20


@pytest.mark.parametrize(
    ("base", "candidate", "expected"),
    [
        ([["look", "{}"]], [["look", "{ }"]], SPELLING),
        ([["look", '{"a":1,"b":2}'], ["wait", "{}"]], [["wait", "{}"], ["look", '{"b":2.0,"a":1}']], SPELLING),
        ([["look", '{"a":"1"}']], [["look", '{"a":1}']], How.CHANGED),
        ([["look", "{"]], [["look", "{ "]], SPELLING),
        ([["look", "{}"]], [["look", "{}"], ["look", "{}"]], How.CHANGED),
    ],
)
def test_arguments_are_compared_as_json(base: Any, candidate: Any, expected: Any) -> None:
    verdict = compare_calls(json.dumps(base), json.dumps(candidate))
    assert verdict is not None
    assert expected in (verdict, verdict.how)


def test_a_difference_no_larger_than_between_bases_own_responses_is_noise() -> None:
    spread = measure_spread("text", ["a b c d", "a b c e"])
    assert spread.furthest == pytest.approx(0.25)
    for candidate, expected in (("a b c x", How.NOISE), ("a b x y", How.CHANGED), ("a b  c d", How.SPACES)):
        verdict = compare_texts("a b c d", candidate)
        assert verdict is not None
        assert judge("text", verdict, candidate, spread, is_own=False) is expected
    verdict = compare_texts("a b c d", "x y")
    assert verdict is not None
    assert judge("text", verdict, "x y", spread, is_own=True) is How.NOISE
    assert judge("text", verdict, "x y", None, is_own=False) is How.CHANGED


def test_calls_that_base_also_has_are_noise_in_any_spelling() -> None:
    own = ['[["look", "{\\"at\\": 1}"]]', '[["look", "{\\"at\\": 2}"]]']
    spread = measure_spread("tool_arguments", own)
    for candidate, expected in (
        ('[["look", "{\\"at\\":2.0}"]]', How.NOISE),
        ('[["look", "{\\"at\\":3}"]]', How.CHANGED),
    ):
        verdict = compare_calls(own[0], candidate)
        assert verdict is not None
        assert judge("tool_arguments", verdict, candidate, spread, is_own=False) is expected
    assert SPACES.how is How.SPACES
