"""Splits texts into words, measures how far two texts differ, and finds the words that only one of them has.

A word is a run of letters and digits, any other visible character, or one character of a script without spaces. White
space separates words and is not one itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rapidfuzz.distance import Indel

# Thai, Lao, Khmer, Kana, Han: scripts without spaces between words.
_SPACELESS = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD_PATTERN = rf"[{_SPACELESS}]|[^\W{_SPACELESS}]+|[^\w\s]"
_WORD = re.compile(_WORD_PATTERN)
# The same words in ASCII text, found in half the time.
_ASCII_WORD = re.compile(r"\w+|[^\w\s]")
_WORD_WITH_SPACE = re.compile(rf"\s*(?:{_WORD_PATTERN})\s*|\s+")
# Finding the words that differ takes memory in proportion to the product of both lengths.
MOST_WORDS = 4_000
# So few words between two changes are easier to read as part of one change.
_TOO_FEW_BETWEEN = 1


@dataclass(frozen=True)
class Piece:
    """A part of two texts: words that both share, or words of each where they differ."""

    is_same: bool
    base: str
    candidate: str


def words(text: str) -> list[str]:
    """Split a text into words."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text)


def difference(base: list[str], candidate: list[str]) -> float:
    """Return the share of words that only one text has: 0 for equal lists of words, 1 for no word in common."""
    return float(Indel.normalized_distance(base, candidate))


def pieces(base: str, candidate: str) -> list[Piece]:
    """Cut both texts where their words differ. Joined, the pieces are the texts, each up to `MOST_WORDS` words."""
    base_words, base_rest = _spaced_words(base)
    candidate_words, candidate_rest = _spaced_words(candidate)
    opcodes = Indel.opcodes([word.strip() for word in base_words], [word.strip() for word in candidate_words])
    cut = [
        Piece(
            code.tag == "equal",
            "".join(base_words[code.src_start : code.src_end]),
            "".join(candidate_words[code.dest_start : code.dest_end]),
        )
        for code in opcodes
    ]
    joined = list(_joined(cut))
    if base_rest or candidate_rest:
        joined.append(Piece(False, _left_out(base_rest), _left_out(candidate_rest)))
    return joined


def shortened(cut: list[Piece], context: int) -> list[Piece]:
    """Shorten long equal pieces to `context` words next to a change."""
    return [
        piece
        if not piece.is_same
        else Piece(
            True,
            _shortened(piece.base, context, position > 0, position < len(cut) - 1),
            _shortened(piece.candidate, context, position > 0, position < len(cut) - 1),
        )
        for position, piece in enumerate(cut)
    ]


def bounded(cut: list[Piece], characters: int) -> list[Piece]:
    """Return the first pieces, up to a number of characters of either text; a last piece shows that there are more."""
    kept: list[Piece] = []
    left = characters
    for piece in cut:
        if left <= 0:
            return [*kept, Piece(True, " […]", " […]")]
        kept.append(Piece(piece.is_same, _start(piece.base, left), _start(piece.candidate, left)))
        left -= max(len(piece.base), len(piece.candidate))
    return kept


def _start(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]} […]"


def _spaced_words(text: str) -> tuple[list[str], int]:
    spaced = _WORD_WITH_SPACE.findall(text)
    return spaced[:MOST_WORDS], max(0, len(spaced) - MOST_WORDS)


def _left_out(count: int) -> str:
    return f" [… {count:,} more words]" if count else ""


def _joined(cut: list[Piece]) -> Iterator[Piece]:
    """Join changes that are adjacent, or separated by few words."""
    open_change: list[Piece] = []
    for position, piece in enumerate(cut):
        is_last = position == len(cut) - 1
        if piece.is_same and (not open_change or is_last or len(words(piece.base)) > _TOO_FEW_BETWEEN):
            yield from _as_one(open_change)
            yield piece
            open_change = []
        else:
            open_change.append(piece)
    yield from _as_one(open_change)


def _as_one(changes: list[Piece]) -> Iterator[Piece]:
    if changes:
        yield Piece(False, "".join(piece.base for piece in changes), "".join(piece.candidate for piece in changes))


def _shortened(text: str, context: int, has_before: bool, has_after: bool) -> str:
    spaced = _WORD_WITH_SPACE.findall(text)
    head, tail = spaced[: context * has_before], spaced[len(spaced) - context * has_after :]
    left_out = len(spaced) - len(head) - len(tail)
    return f"{''.join(head)} [… {left_out:,} words] {''.join(tail)}" if left_out > context else text
