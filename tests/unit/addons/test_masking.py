"""Credentials that a body repeats are masked in what is kept of it, however the body is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.addons.tapeline_recorder.masking import SHOWN_BYTES, Mask, credentials_in, masks_for
from tapeline.pipeline.wire.redaction import Redactor

SALT = b"salt" * 8
KEY = "sk-abcabcabd-0123456789-0123456789-0123456789"
SHORT = "sk-abcab"


def kept(chunks: list[bytes], *credentials: str) -> tuple[bytes, int]:
    mask = Mask(masks_for(sorted(credentials, key=len, reverse=True), SALT))
    return b"".join([*map(mask.feed, chunks), mask.finish()]), mask.count


def cut(body: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(body) + 1) for place in places)
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


def test_a_mask_is_as_long_and_names_the_credential_as_sealing_does() -> None:
    body, count = kept([f'{{"message": "Incorrect key: {KEY}."}}'.encode()], KEY)
    name = Redactor(SALT).value({"api_key": KEY})["api_key"]
    assert body.decode() == f'{{"message": "Incorrect key: {name.ljust(len(KEY), "*")}."}}'
    assert count == 1
    assert kept([SHORT.encode()], SHORT) == (b"*" * len(SHORT), 1)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 11])
def test_a_credential_over_many_chunks_is_masked(size: int) -> None:
    body = f"x{KEY}y{KEY}{KEY} sk-abcabcabz".encode()
    masked, _ = kept([body[start : start + size] for start in range(0, len(body), size)], KEY)
    assert len(masked) == len(body)
    assert KEY[SHOWN_BYTES:].encode() not in masked
    assert masked.startswith(b"x")
    assert masked.endswith(b" sk-abcabcabz")


def test_what_only_begins_like_a_credential_is_held_no_longer_than_needed() -> None:
    mask = Mask(masks_for([KEY], SALT))
    assert mask.feed(b"data: sk-abc") == b"data: "
    assert mask.feed(b"x\n\n") == b"sk-abcx\n\n"
    assert mask.feed(b"sk-a") == b""
    assert mask.finish() == b"sk-a"
    assert mask.feed(b"") == b""


@given(st.lists(st.sampled_from([KEY, SHORT, "sk-", "abc", "x", KEY[:-1]])), st.lists(st.integers(0, 500)))
def test_however_a_body_is_cut(parts: list[str], places: list[int]) -> None:
    body = "".join(parts).encode()
    masked, count = kept(cut(body, places), KEY, SHORT)
    assert len(masked) == len(body)
    assert KEY[SHOWN_BYTES:].encode() not in masked
    assert (count > 0) == (KEY.encode() in body or SHORT.encode() in body)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_other_bytes_stay_as_they_are(body: bytes, places: list[int]) -> None:
    assert kept(cut(body, places), KEY, SHORT) == (body, 0)
    assert kept(cut(body, places)) == (body, 0)


def test_credentials_are_found_in_heads() -> None:
    headers = [
        ("Authorization", "Bearer canary-bearer"),
        ("X-Api-Key", "canary-api-key"),
        ("Cookie", "session=canary-cookie; theme=dark; id=canary-other"),
        ("Proxy-Authorization", "Basic canary-proxy"),
        ("X-PAYMENT", "canary-payment"),
        ("X-Auth-Token", "short"),
        ("Idempotency-Key", "idempotency-0001"),
        ("User-Agent", "a-long-user-agent"),
        ("X-Title", "a-long-title"),
        ("Api-Key", ""),
    ]
    target = "/v1/chat/completions?api-version=2024-10-21&key=canary-query&code=long-enough-code"
    assert set(credentials_in(headers, target, frozenset({"idempotency-key"}))) == {
        "canary-bearer", "canary-api-key", "canary-cookie", "canary-other", "canary-proxy", "canary-payment",
        "canary-query", "long-enough-code",
    }  # fmt: skip
