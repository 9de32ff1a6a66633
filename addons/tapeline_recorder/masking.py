"""Masks the credentials of a request where bodies repeat them, before the bodies are written.

Providers like to quote a key that they refuse. A mask is as long as the credential, so that sizes and chunk ends stay
the same. Other credentials, and bodies under a content coding, are searched when they are sealed. Traffic itself is not
touched.
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
# Shorter values occur in texts by chance.
MIN_CHARACTERS = 8
# This much of a credential may be written before the rest is seen: it shows the issuer, not the key.
SHOWN_BYTES = 3

Headers = Iterable[tuple[str, str]]


def credentials_in(headers: Headers, target: str, kept: frozenset[str]) -> list[str]:
    """Return the credentials in headers that are not kept and in the query string, longest first."""
    found: set[str] = set()
    for name, value in headers:
        lower = name.lower()
        if lower in kept or not _CREDENTIAL_NAME.search(lower):
            continue
        if lower == "cookie":
            found.update(part.partition("=")[2].strip() for part in value.split(";"))
        else:
            # "Bearer", "Basic" and the like are not part of it.
            found.add(value.split(None, 1)[-1].strip() if value.strip() else "")
    query = parse_qsl(target.partition("?")[2])
    found.update(value for name, value in query if _CREDENTIAL_NAME.search(name))
    return sorted((value for value in found if len(value) >= MIN_CHARACTERS), key=len, reverse=True)


def masks_for(credentials: Iterable[str], salt: bytes) -> list[tuple[bytes, bytes]]:
    """Return each credential as bytes, with a mask of the same length that names it as sealing does, if it fits."""
    masks = []
    for credential in credentials:
        covered = credential.encode("utf-8", "surrogateescape")
        name = f"[redacted:credential:{keyed_hash(credential, salt)[:8]}]".encode("ascii")
        masks.append((covered, name.ljust(len(covered), b"*") if len(name) <= len(covered) else b"*" * len(covered)))
    return masks


class Mask:
    """Masks a body that comes in chunks; a credential may stand across their ends.

    Bytes that may start a credential are held back until more have come; `finish` returns the rest.
    """

    def __init__(self, masks: list[tuple[bytes, bytes]]) -> None:
        self._masks = masks
        self._starts = [credential[: SHOWN_BYTES + 1] for credential, _ in masks]
        self._held = b""
        #: The last bytes that were returned, as they came.
        self._given = b""
        #: How many credentials were masked.
        self.count = 0

    def feed(self, data: bytes) -> bytes:
        """Return the next bytes of the body to keep."""
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
        for start in self._starts:  # noqa: SIM110 - runs for each event of a stream, where a generator is slow
            if start in window:
                return True
        return False

    def finish(self) -> bytes:
        """Return the bytes that were held back: no more will come."""
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
        """Return how many bytes at the end may start a credential."""
        longest = 0
        for credential, _ in self._masks:
            first = max(0, len(window) - len(credential) + 1)
            start = window.find(credential[: SHOWN_BYTES + 1], first)
            while start != -1 and not credential.startswith(window[start:]):
                start = window.find(credential[: SHOWN_BYTES + 1], start + 1)
            if start != -1:
                longest = max(longest, len(window) - start)
        return longest
