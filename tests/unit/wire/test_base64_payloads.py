"""Payloads are replaced by references and put back; the same payload has the same id."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.pipeline.wire.base64_payloads import LITERAL, REFERENCE, extract, restore

DATA = bytes(range(256)) * 8
TEXT = base64.b64encode(DATA).decode()
URL = f"data:image/png;base64,{TEXT}"


def extracted_and_restored(value: Any) -> Any:
    extracted, payloads = extract(value)
    return restore(extracted, {payload.payload_id: payload.text for payload in payloads}.get)


@pytest.mark.parametrize(
    ("part", "media_type"),
    [
        ({"type": "image_url", "image_url": {"url": URL}}, "image/png"),
        ({"type": "input_audio", "input_audio": {"data": TEXT, "format": "wav"}}, "wav"),
        ({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{TEXT}"}}, "application/pdf"),
        ({"type": "document", "source": {"media_type": "text/csv", "data": TEXT}}, "text/csv"),
        ({"type": "video_url", "video_url": {"url": f"data:;base64,{TEXT}"}}, None),
        ({"type": "image_url", "image_url": {"url": f"data:image/png;charset=x;base64,{TEXT}"}}, "image/png"),
    ],
)
def test_a_payload_is_extracted_with_its_type_and_size(part: Any, media_type: str | None) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}
    extracted, (payload,) = extract(message)
    assert (payload.media_type, payload.size) == (media_type, len(DATA))
    assert TEXT not in str(extracted)
    assert extracted_and_restored(message) == message


def test_the_same_payload_has_the_same_id() -> None:
    _, payloads = extract([{"a": URL}, {"b": [URL]}])
    assert len({payload.payload_id for payload in payloads}) == 1


@pytest.mark.parametrize(
    "text", ["word " * 1000, "a" * 1000, URL[:500], f"data:text/plain,{TEXT}", f"see {URL}", "ä" * 5000, TEXT + "!"]
)
def test_text_stays_text(text: str) -> None:
    assert extract({"data": text}) == ({"data": text}, [])


@pytest.mark.parametrize(
    "value",
    [
        {REFERENCE: "0" * 32},
        {REFERENCE: URL},
        {LITERAL: {REFERENCE: 1}},
        {REFERENCE: 1, "more": [URL]},
        {LITERAL: [URL], REFERENCE: {LITERAL: 2}},
    ],
)
def test_a_value_that_looks_like_a_reference_comes_back(value: Any) -> None:
    assert extracted_and_restored(value) == value


names = st.sampled_from(["a", "data", "format", REFERENCE, LITERAL])
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just(URL), st.just(TEXT))
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=12
)


@given(values)
def test_any_value_comes_back(value: Any) -> None:
    assert extracted_and_restored(value) == value


@pytest.mark.parametrize("name", ["content", "text", "arguments"])
def test_text_fields_stay(name: str) -> None:
    assert extract({name: TEXT}) == ({name: TEXT}, [])
    assert extract({name: [{"data": TEXT}]})[1]


def test_a_reference_without_its_payload_stays() -> None:
    extracted, _ = extract({"url": URL})
    assert restore(extracted, lambda _: None) == extracted
