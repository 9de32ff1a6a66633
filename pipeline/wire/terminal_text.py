"""Makes text of unknown origin harmless on a terminal: a control character is shown as its escape sequence.

It imports nothing but `re`, so that the recorder, which has to stay small, can use it.
"""

from __future__ import annotations

import re

#: Controls (C0 without tab and line feed, DEL, C1), and the marks that reorder what follows (bidirectional controls).
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Return the text with control characters escaped; line feeds and tabs stay."""
    return UNSAFE.sub(lambda match: match.group().encode("unicode_escape", "surrogatepass").decode("ascii"), text)


def one_line(text: str) -> str:
    """Return the text with control characters escaped, on one line."""
    return visible(text).replace("\n", "⏎").replace("\t", " ")
