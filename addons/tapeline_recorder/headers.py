"""Decides which headers, path and key of a request and response are kept, before anything is written.

Headers pass an allow-list: a header that is not named here is dropped. A key is kept only as a keyed fingerprint: usage
can be split by key, and nobody can recover the key.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from .keyed_hash import keyed_hash

# Headers that describe the call and its limits. A name that ends in "-" stands for all names that start with it. Of
# x402 only the server's demand (`payment-required`) is here: a payment is signed, and a receipt names the wallet.
REQUEST_HEADERS = (
    "accept",
    "accept-encoding",
    "anthropic-beta",
    "anthropic-version",
    "content-encoding",
    "content-length",
    "content-type",
    "http-referer",
    "idempotency-key",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "traceparent",
    "user-agent",
    "x-client-request-id",
    "x-request-id",
    "x-stainless-",
    "x-title",
)
RESPONSE_HEADERS = (
    "anthropic-ratelimit-",
    "apim-request-id",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "openai-organization",
    "openai-processing-ms",
    "openai-version",
    "payment-required",
    "ratelimit-",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "server",
    "server-timing",
    "transfer-encoding",
    "via",
    "x-cache",
    "x-envoy-upstream-service-time",
    "x-litellm-attempted-fallbacks",
    "x-litellm-attempted-retries",
    "x-litellm-cache-key",
    "x-litellm-call-id",
    "x-litellm-model-group",
    "x-litellm-model-id",
    "x-litellm-model-name",
    "x-litellm-overhead-duration-ms",
    "x-litellm-response-cost",
    "x-litellm-response-cost-",
    "x-litellm-response-duration-ms",
    "x-litellm-version",
    "x-ms-region",
    "x-ratelimit-",
    "x-request-id",
    "x-should-retry",
)
# LiteLLM passes the provider's headers on with this prefix; they are kept by the same rules.
PASSED_ON = "llm_provider-"
# Where clients put their key: LiteLLM, whose clients may name the provider's key beside it; OpenAI and most others;
# Anthropic; Azure; Google; Azure API Management.
KEY_HEADERS = (
    "x-litellm-api-key",
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
)
KEY_PARAMETERS = ("key", "api_key", "api-key")
# The only query parameter that is kept: the version of Azure OpenAI's API.
QUERY_PARAMETERS = ("api-version",)

SALT_BYTES = 32

Headers = Iterable[tuple[str, str]]


def kept_headers(headers: Headers, allowed: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the headers that `allowed` names, with lower-case names, in their order."""
    exact = frozenset(allowed)
    prefixes = tuple(name for name in allowed if name.endswith("-"))
    kept = []
    for name, value in headers:
        lower = name.lower()
        known = lower.removeprefix(PASSED_ON)
        if known in exact or known.startswith(prefixes):
            kept.append((lower, value))
    return kept


def kept_path(target: str) -> str:
    """Return the path of a request target, with the query parameters that are known to hold no secret."""
    path, _, query = target.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query) if name.lower() in QUERY_PARAMETERS]
    return f"{path}?{urlencode(kept)}" if kept else path


def find_key(headers: Headers, target: str) -> str | None:
    """Return the credential of a request without its scheme ("Bearer"); None if it has none."""
    values = {name.lower(): value for name, value in headers}
    for name in KEY_HEADERS:
        if value := values.get(name, "").strip():
            return value.split(None, 1)[-1]
    parameters = dict(parse_qsl(target.partition("?")[2]))
    return next((parameters[name] for name in KEY_PARAMETERS if parameters.get(name)), None)


def fingerprint(key: str, salt: bytes) -> str:
    """Return what is kept of a key: the start of its keyed hash."""
    return "key-" + keyed_hash(key, salt)[:16]


def load_salt(path: Path) -> bytes:
    """Return the salt of a data directory, made on first use. Without it old fingerprints cannot be compared with new
    ones."""
    if path.exists():
        salt = bytes.fromhex(path.read_text("ascii"))
        if len(salt) == SALT_BYTES:
            return salt
        path.unlink()  # cut short by a loss of power: an empty salt would protect nothing
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(SALT_BYTES))
    try:
        # A link fails where a rename would replace, so two recorders that start at once use the same salt.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return bytes.fromhex(path.read_text("ascii"))
