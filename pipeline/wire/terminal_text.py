"""Makes text that a model or a peer wrote harmless on a terminal: a control character shows as its escape.

It needs nothing else, so that the recorder, which is to be small, can use it.
"""

from __future__ import annotations

import re

#: Controls (C0 without tab and line feed, DEL, C1), and the marks that reorder what follows (bidirectional controls).
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Text that shows on a terminal what it holds and does nothing there."""
    return UNSAFE.sub(lambda match: match.group().encode("unicode_escape", "surrogatepass").decode("ascii"), text)


def one_line(text: str) -> str:
    """The same on one line."""
    return visible(text).replace("\n", "⏎").replace("\t", " ")
