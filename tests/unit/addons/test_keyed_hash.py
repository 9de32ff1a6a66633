"""One hash names secrets on both sides, whatever characters they hold."""

from __future__ import annotations

import pytest

from tapeline.addons.tapeline_recorder.keyed_hash import keyed_hash
from tapeline.pipeline.wire.redaction import Credential, Redactor

SALT = bytes(32)


@pytest.mark.parametrize(
    "secret", ["sk-a-plain-secret", "päßwörter-überall", "raw-\udcff-byte-of-a-header", "lone-\ud800-surrogate"]
)
def test_a_credential_that_the_recorder_hashed_is_found_again(secret: str) -> None:
    known = Credential(len(secret), keyed_hash(secret, SALT))
    redacted = Redactor(SALT).without(f"Incorrect key {secret}.", (known,))
    assert redacted == f"Incorrect key [redacted:credential:{known.digest[:8]}]."
