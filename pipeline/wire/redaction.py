"""Replaces credentials in requests and responses by names.

A name such as `[redacted:github-token:5f0c9a1e]` has the kind and a keyed hash: the same credential has the same name
everywhere in a data directory, and the name does not reveal it. Credentials in formats that issuers made recognisable
are found by a table. Those that a request was sent with are found by their hash, whatever their format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tapeline.addons.tapeline_recorder.keyed_hash import keyed_hash

from .base64_payloads import is_payload

# A shorter text cannot contain a credential of any format below.
MIN_CHARACTERS = 16
# Every part of a text that is as long as the credential is hashed, which takes microseconds each.
MAX_COMPARED_CHARACTERS = 65_536
HASH_CHARACTERS = 8
_NAME = re.compile(rf"\[redacted:([\w-]+):[0-9a-f]{{{HASH_CHARACTERS}}}\]")
# How many texts without a credential are remembered, by their hashes.
MAX_REMEMBERED = 50_000
# Members whose text counts as a credential in any format: LiteLLM's `api_key`, headers of remote tools, cloud accounts.
SECRET_MEMBERS = frozenset(
    {
        "access_token",
        "api-key",
        "api_key",
        "apikey",
        "authorization",
        "aws_secret_access_key",
        "aws_session_token",
        "client_secret",
        "cookie",
        "password",
        "proxy-authorization",
        "secret_key",
        "x-api-key",
    }
)


@dataclass(frozen=True)
class Format:
    """A kind of credential.

    Every credential of the kind contains one of `marks`. The first group of the pattern is replaced, or the whole match
    where it has no group.
    """

    kind: str
    marks: tuple[str, ...]
    pattern: re.Pattern[str]


def _format(kind: str, marks: str, pattern: str) -> Format:
    return Format(kind, tuple(marks.split()), re.compile(pattern, re.ASCII))


_START, _END = r"(?<![A-Za-z0-9_-])", r"(?![A-Za-z0-9_-])"

#: Formats as their issuers document them; undocumented ones as they are issued.
FORMATS = (
    # OpenAI, Anthropic (sk-ant-), OpenRouter (sk-or-), DeepSeek, LiteLLM, Langfuse and others.
    _format("api-key", "sk-", rf"{_START}sk-[A-Za-z0-9_-]{{16,}}"),
    _format(
        "api-key",
        "gsk_ xai- pplx- nvapi- csk- fw_ tgp_v1_ r8_ hf_ tvly- lsv2_ jina_",
        rf"{_START}(?:gsk_|xai-|pplx-|nvapi-|csk-|fw_|tgp_v1_|r8_|hf_|tvly-|lsv2_(?:pt|sk)_|jina_)"
        r"[A-Za-z0-9_-]{20,}",
    ),
    _format("google-key", "AIza", rf"{_START}AIza[A-Za-z0-9_-]{{35}}{_END}"),
    _format("google-token", "ya29. GOCSPX-", rf"{_START}(?:ya29\.[A-Za-z0-9_-]{{20,}}|GOCSPX-[A-Za-z0-9_-]{{20,}})"),
    _format("aws-key-id", "AKIA ASIA", rf"{_START}A(?:KI|SI)A[A-Z2-7]{{16}}{_END}"),
    _format(
        "aws-secret",
        "aws_secret AWS_SECRET SecretAccessKey",
        r"(?i:aws_secret_access_key|SecretAccessKey)[\"'\\]*\s*[:=]\s*[\"'\\]*([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])",
    ),
    _format("azure-key", "AccountKey= SharedAccessKey=", r"(?:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{40,}={0,2})"),
    _format("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", rf"{_START}gh[pousr]_[A-Za-z0-9]{{36,}}"),
    _format("github-token", "github_pat_", rf"{_START}github_pat_[A-Za-z0-9_]{{36,}}"),
    _format("gitlab-token", "glpat-", rf"{_START}glpat-[A-Za-z0-9_-]{{20,}}"),
    _format("slack-token", "xox xapp-", rf"{_START}(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{{10,}}"),
    _format("slack-webhook", "hooks.slack.com", r"hooks\.slack\.com/services/([A-Za-z0-9/]{20,})"),
    _format("stripe-key", "_live_ _test_", rf"{_START}[srp]k_(?:live|test)_[A-Za-z0-9]{{16,}}"),
    _format("npm-token", "npm_", rf"{_START}npm_[A-Za-z0-9]{{36}}{_END}"),
    _format("pypi-token", "pypi-AgE", rf"{_START}pypi-AgE[A-Za-z0-9_-]{{50,}}"),
    _format("sendgrid-key", "SG.", rf"{_START}SG\.[A-Za-z0-9_-]{{16,}}\.[A-Za-z0-9_-]{{16,}}"),
    _format("digitalocean-token", "dop_v1_ doo_v1_", rf"{_START}do[op]_v1_[a-f0-9]{{64}}"),
    _format("telegram-token", ":AA", r"(?<![0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),
    # RFC 7519: two JSON objects in base64url, and a signature.
    _format("jwt", "eyJ", rf"{_START}eyJ[A-Za-z0-9_-]{{8,}}\.eyJ[A-Za-z0-9_-]{{8,}}\.[A-Za-z0-9_-]{{8,}}"),
    # RFC 7468; line ends may be written as \n where the key is part of a string.
    _format(
        "private-key",
        "KEY-----",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----([A-Za-z0-9+/=\s\\:,-]{32,}?)(?:-----END|\Z)",
    ),
    # RFC 6750 and RFC 3986, section 3.2.1: users paste them with examples, logs and URLs.
    _format("bearer-token", "earer", r"[Bb]earer\s+([A-Za-z0-9._~+/-]{20,}=*)"),
    _format("password", "://", r"://[^\s/:@\"'<>]{1,64}:([^\s/:@\"'<>]{4,128})@"),
)


def user_format(pattern: str) -> Format:
    """Return a format that the user defined. Raises re.error for an invalid regular expression."""
    return Format("own", (), re.compile(pattern))


@dataclass(frozen=True)
class Credential:
    """A credential that a request was sent with: its length, and its keyed hash under the data directory's salt."""

    length: int
    digest: str


@dataclass
class Redactor:
    """Replaces credentials by names under the salt of a data directory, and counts them."""

    salt: bytes
    #: Formats that the user defined, in addition to the known ones.
    user_formats: tuple[Format, ...] = ()
    #: The number of credentials replaced so far.
    count: int = field(default=0, init=False)
    _clean: set[int] = field(default_factory=set, init=False, repr=False)

    def value(self, value: Any) -> Any:
        """Return a JSON value with the credentials in its strings replaced."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(member) for member in value]
        if isinstance(value, dict):
            return {self.text(name): self._member(name, member) for name, member in value.items()}
        return value

    def text(self, text: str) -> str:
        """Return a text with its credentials replaced; base64 of an image or a recording stays."""
        # Conversations send the same texts again and again: each is searched once.
        known = hash(text)
        if known in self._clean or is_payload(text):
            return text
        redacted = self._redacted(text)
        if redacted == text:
            if len(self._clean) >= MAX_REMEMBERED:
                self._clean.clear()
            self._clean.add(known)
        return redacted

    def without(self, value: Any, credentials: tuple[Credential, ...]) -> Any:
        """Return a JSON value with these credentials replaced, of which only the hashes are known."""
        if isinstance(value, str):
            for credential in credentials:
                value = self._without(value, credential)
            return value
        if isinstance(value, list):
            return [self.without(member, credentials) for member in value]
        if isinstance(value, dict):
            return {name: self.without(member, credentials) for name, member in value.items()}
        return value

    def _redacted(self, text: str) -> str:
        if len(text) >= MIN_CHARACTERS:
            for entry in FORMATS:
                if any(mark in text for mark in entry.marks):
                    text = entry.pattern.sub(partial(self._replaced, entry.kind), text)
        for entry in self.user_formats:
            text = entry.pattern.sub(partial(self._replaced, entry.kind), text)
        return text

    def _member(self, name: str, member: Any) -> Any:
        if isinstance(member, str) and name.lower() in SECRET_MEMBERS and member:
            self.count += 1
            return self._name("credential", member)
        return self.value(member)

    def _replaced(self, kind: str, match: re.Match[str]) -> str:
        group = 1 if match.re.groups else 0
        secret = match.group(group)
        if not secret:
            return match.group()
        self.count += 1
        start, end = (position - match.start() for position in match.span(group))
        whole = match.group()
        return whole[:start] + self._name(kind, secret) + whole[end:]

    def _name(self, kind: str, secret: str) -> str:
        return f"[redacted:{kind}:{keyed_hash(secret, self.salt)[:HASH_CHARACTERS]}]"

    def _without(self, text: str, credential: Credential) -> str:
        for candidate in _candidates(text[:MAX_COMPARED_CHARACTERS], credential.length):
            if keyed_hash(candidate, self.salt) == credential.digest:
                self.count += text.count(candidate)
                return text.replace(candidate, self._name("credential", candidate))
        return text


class UnsaltedRedactor(Redactor):
    """Replaces credentials by names that are the same in every data directory: they have only the kind."""

    def __init__(self) -> None:
        super().__init__(b"")

    def _name(self, kind: str, _secret: str) -> str:
        return f"[redacted:{kind}]"


def unsalted(text: str) -> str:
    """Return a text in which the names of credentials are those that `UnsaltedRedactor` would use."""
    return _NAME.sub(r"[redacted:\1]", text)


def _candidates(text: str, length: int) -> Iterator[str]:
    """Yield the parts of a text that have this length, and begin and end where a word does."""
    for start in range(len(text) - length + 1 if length > 0 else 0):
        if _is_edge(text, start) and _is_edge(text, start + length):
            yield text[start : start + length]


def _is_edge(text: str, position: int) -> bool:
    return not 0 < position < len(text) or not (text[position - 1].isalnum() and text[position].isalnum())
