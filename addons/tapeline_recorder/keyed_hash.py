"""The one hash by which secrets are named in files: who lacks the data directory's salt cannot try keys on it."""

from __future__ import annotations

import hashlib
import hmac


def keyed_hash(secret: str, salt: bytes) -> str:
    """Return the HMAC-SHA256 of a secret under a salt, as 64 hexadecimal digits.

    Header values hold bytes that are no UTF-8 as surrogates (PEP 383), texts from JSON hold surrogates of any kind.
    """
    try:
        data = secret.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = secret.encode("utf-8", "surrogatepass")
    return hmac.new(salt, data, hashlib.sha256).hexdigest()
