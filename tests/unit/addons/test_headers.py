"""Which headers are kept, and where a key is found."""

from __future__ import annotations

import pytest

from tapeline.addons.tapeline_recorder.headers import RESPONSE_HEADERS, find_key, kept_headers

# As LiteLLM's proxy answers with them.
BY_LITELLM = {
    "x-litellm-model-name": "openai/gpt-4o",
    "x-litellm-cache-key": "0f3a",
    "x-litellm-response-cost": "0.00021",
    "x-litellm-response-cost-input": "0.0001",
    "x-litellm-response-duration-ms": "641.9",
    "x-litellm-overhead-duration-ms": "10.8",
    "LLM_Provider-Retry-After": "2",
    "llm_provider-x-request-id": "req_1",
    "llm_provider-x-ratelimit-remaining-requests": "4999",
    "llm_provider-openai-processing-ms": "42",
}
OF_NO_USE = {
    "x-litellm-model-api-base": "https://someone:secret@example.com",
    "x-litellm-key-spend": "12.5",
    "x-litellm-key-max-budget": "100.0",
    "llm_provider-set-cookie": "session=1",
    "llm_provider-x-unheard-of": "1",
    "llm_provider-": "1",
    "set-cookie": "session=1",
}


def test_what_a_proxy_says_of_the_call_is_kept() -> None:
    kept = kept_headers([*BY_LITELLM.items(), *OF_NO_USE.items()], RESPONSE_HEADERS)
    assert kept == [(name.lower(), value) for name, value in BY_LITELLM.items()]


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": "Bearer one"}, "one"),
        ({"X-Api-Key": "one"}, "one"),
        ({"X-LiteLLM-API-Key": "one"}, "one"),
        ({"x-litellm-api-key": "Bearer one"}, "one"),
        ({"Authorization": "Bearer passed-on", "x-litellm-api-key": "Bearer one"}, "one"),
        ({"Authorization": " "}, None),
        ({}, None),
    ],
)
def test_where_a_key_is_found(headers: dict[str, str], key: str | None) -> None:
    assert find_key(headers.items(), "/v1/chat/completions") == key
