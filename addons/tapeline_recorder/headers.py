"""Decides what of a request's and a response's head may be kept, before anything is written.

Headers pass an allow-list: a header that is not named here is left out, whatever it holds. A key is kept only as
a keyed fingerprint, so that two users of one key can be told from two users of two, and nobody can tell the key.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from .keyed_hash import keyed_hash

# Headers that describe the call and its limits. A name that ends in "-" stands for all that begin so. Of x402 only what
# a server demands (`payment-required`) is here: what a client pays with is signed, and a receipt names its wallet.
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
# A proxy's answer (LiteLLM's) names the provider's own headers so; what is kept of the one is kept of the other.
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
# Of a query string only what names an API's version is kept (Azure OpenAI).
QUERY_PARAMETERS = ("api-version",)

SALT_BYTES = 32

Headers = Iterable[tuple[str, str]]


def kept_headers(headers: Headers, allowed: tuple[str, ...]) -> list[tuple[str, str]]:
    """The headers that `allowed` names, with lower-case names, in their order."""
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
    """The path of a request target, with those query parameters that are known to hold no secret."""
    path, _, query = target.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query) if name.lower() in QUERY_PARAMETERS]
    return f"{path}?{urlencode(kept)}" if kept else path


def find_key(headers: Headers, target: str) -> str | None:
    """The credential that a request carries, without its scheme ("Bearer"); None when it has none."""
    values = {name.lower(): value for name, value in headers}
    for name in KEY_HEADERS:
        if value := values.get(name, "").strip():
            return value.split(None, 1)[-1]
    parameters = dict(parse_qsl(target.partition("?")[2]))
    return next((parameters[name] for name in KEY_PARAMETERS if parameters.get(name)), None)


def fingerprint(key: str, salt: bytes) -> str:
    """What is kept of a key: the start of its HMAC-SHA256 under the data directory's salt."""
    return "key-" + keyed_hash(key, salt)[:16]


def load_salt(path: Path) -> bytes:
    """The salt of a data directory, made on first use. Losing it makes old fingerprints incomparable, no more."""
    if path.exists():
        salt = bytes.fromhex(path.read_text("ascii"))
        if len(salt) == SALT_BYTES:
            return salt
        path.unlink()  # cut short by a loss of power: an empty salt would be none
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(SALT_BYTES))
    try:
        # A link fails where a rename would replace: of two recorders that start at once, both use the first one's.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return bytes.fromhex(path.read_text("ascii"))
