"""Masks the credentials a request came with where bodies repeat them, before anything of them is written.

Providers like to quote a key that they refuse. A mask is as long as what it covers, so that sizes and the places of
chunks stay what they were. Credentials that a request did not come with, and bodies under a content coding, are looked
through at sealing. Traffic is not touched: only what is kept of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

from .keyed_hash import keyed_hash

# Header and parameter names under which credentials travel.
_CREDENTIAL_NAME = re.compile(
    r"auth|cookie|credential|jwt|key|pass(word|phrase)?$|payment|secret|session|signature|token|^(code|sig)$",
    re.IGNORECASE,
)
# Shorter values stand in texts by chance.
MIN_CHARACTERS = 8
# This much of the start of a credential may be written before more of it is seen: it tells the issuer, not the key.
SHOWN_BYTES = 3

Headers = Iterable[tuple[str, str]]


def credentials_in(headers: Headers, target: str, kept: frozenset[str]) -> list[str]:
    """The credentials in a request's head, longest first: of headers that are not kept, and of the query string."""
    found: set[str] = set()
    for name, value in headers:
        lower = name.lower()
        if lower in kept or not _CREDENTIAL_NAME.search(lower):
            continue
        if lower == "cookie":
            found.update(part.partition("=")[2].strip() for part in value.split(";"))
        else:
            # "Bearer", "Basic" and the like are no part of it.
            found.add(value.split(None, 1)[-1].strip() if value.strip() else "")
    query = parse_qsl(target.partition("?")[2])
    found.update(value for name, value in query if _CREDENTIAL_NAME.search(name))
    return sorted((value for value in found if len(value) >= MIN_CHARACTERS), key=len, reverse=True)


def masks_for(credentials: Iterable[str], salt: bytes) -> list[tuple[bytes, bytes]]:
    """Each credential as bytes, and a mask as long that names it, as sealing does, where it is long enough."""
    masks = []
    for credential in credentials:
        covered = credential.encode("utf-8", "surrogateescape")
        name = f"[redacted:credential:{keyed_hash(credential, salt)[:8]}]".encode("ascii")
        masks.append((covered, name.ljust(len(covered), b"*") if len(name) <= len(covered) else b"*" * len(covered)))
    return masks


class Mask:
    """Masks a body that comes in chunks, in which a credential may stand across any of their ends.

    What may be the beginning of a credential is held back until more has come: `finish` gives what is left of it.
    """

    def __init__(self, masks: list[tuple[bytes, bytes]]) -> None:
        self._masks = masks
        self._starts = [credential[: SHOWN_BYTES + 1] for credential, _ in masks]
        self._held = b""
        #: The last bytes that were given, as they came.
        self._given = b""
        #: How many credentials were covered.
        self.count = 0

    def feed(self, data: bytes) -> bytes:
        """What is to be kept of the body up to here and was not given before."""
        if not self._masks:
            return data
        before = len(self._given)
        window = self._given + self._held + data
        if not self._held and not self._may_hold_one(window):
            self._given = window[-SHOWN_BYTES:]
            return data
        end = max(before, len(window) - self._hold(window))
        kept = self._covered(window)[before:end]
        self._held = window[end:]
        self._given = window[:end][-SHOWN_BYTES:]
        return kept

    def _may_hold_one(self, window: bytes) -> bool:
        for start in self._starts:  # noqa: SIM110 - asked of each event that passes, where a generator costs the most
            if start in window:
                return True
        return False

    def finish(self) -> bytes:
        """The rest, of which no more can come."""
        rest, self._held = self._held, b""
        return rest

    def _covered(self, window: bytes) -> bytes:
        covered = window
        for credential, mask in self._masks:
            if credential in covered:
                self.count += covered.count(credential)
                covered = covered.replace(credential, mask)
        return covered

    def _hold(self, window: bytes) -> int:
        """How many bytes at the end may be a credential's beginning."""
        longest = 0
        for credential, _ in self._masks:
            first = max(0, len(window) - len(credential) + 1)
            start = window.find(credential[: SHOWN_BYTES + 1], first)
            while start != -1 and not credential.startswith(window[start:]):
                start = window.find(credential[: SHOWN_BYTES + 1], start + 1)
            if start != -1:
                longest = max(longest, len(window) - start)
        return longest
