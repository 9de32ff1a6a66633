"""Credentials are replaced by stable names in any text, and nothing else is replaced."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tapeline.addons.tapeline_recorder.keyed_hash import keyed_hash
from tapeline.pipeline.wire.redaction import FORMATS, Credential, Redactor, user_format

SALT = b"salt" * 8
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

# Kind -> invented credentials in the format of their issuers.
CREDENTIALS: dict[str, list[str]] = {
    "api-key": [
        "sk-" + LETTERS[:48],
        "sk-proj-" + LETTERS[:20] + "_" + LETTERS[20:44] + "-x",
        "sk-ant-api03-" + LETTERS[:40] + "-AA",
        "sk-or-v1-" + "0123456789abcdef" * 4,
        "gsk_" + LETTERS[:52],
        "xai-" + LETTERS,
        "pplx-" + LETTERS[:48],
        "nvapi-" + LETTERS[:60],
        "hf_" + LETTERS[:34],
        "r8_" + LETTERS[:37],
        "tvly-dev-" + LETTERS[:32],
        "lsv2_pt_" + "0123456789abcdef" * 2 + "_0123456789",
    ],
    "google-key": ["AIza" + LETTERS[:33] + "-_"],
    "google-token": ["ya29." + LETTERS[:40], "GOCSPX-" + LETTERS[:28]],
    "aws-key-id": ["AKIA" + "ABCDEFGHIJKLMNOP", "ASIA" + "QRSTUVWXYZ234567"],
    "github-token": ["ghp_" + LETTERS[:36], "gho_" + LETTERS[:36], "github_pat_" + LETTERS[:22] + "_" + LETTERS[:59]],
    "gitlab-token": ["glpat-" + LETTERS[:20]],
    "slack-token": ["xoxb-1234567890-1234567890123-" + LETTERS[:24], "xapp-1-A0-" + LETTERS[:20]],
    "stripe-key": ["sk_live_" + LETTERS[:24], "rk_test_" + LETTERS[:24]],
    "npm-token": ["npm_" + LETTERS[:36]],
    "pypi-token": ["pypi-AgEIcHlwaS5vcmc" + LETTERS],
    "sendgrid-key": ["SG." + LETTERS[:22] + "." + LETTERS[:43]],
    "digitalocean-token": ["dop_v1_" + "0123456789abcdef" * 4],
    "telegram-token": ["123456789:AA" + LETTERS[:33]],
    "jwt": ["eyJ" + LETTERS[:20] + ".eyJ" + LETTERS[:30] + "." + LETTERS[:43]],
}
# Text around a credential by which it is recognised.
IN_CONTEXT = {
    "aws-secret": ('aws_secret_access_key = "{}"', LETTERS[:38] + "/+"),
    "azure-key": ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};", LETTERS[:60] + "=="),
    "slack-webhook": ("https://hooks.slack.com/services/{}", "T00000000/B00000000/" + LETTERS[:24]),
    "bearer-token": ("curl -H 'Authorization: Bearer {}'", LETTERS[:30]),
    "password": ("postgres://admin:{}@db.example/main", "correct-horse"),
    "private-key": ("-----BEGIN RSA PRIVATE KEY-----{}-----END RSA PRIVATE KEY-----", "\nMIIE" + LETTERS + "\n"),
}
CASES = [(kind, "{}", secret) for kind, secrets in CREDENTIALS.items() for secret in secrets]
CASES += [(kind, context, secret) for kind, (context, secret) in IN_CONTEXT.items()]


@pytest.mark.parametrize(("kind", "context", "secret"), CASES)
@pytest.mark.parametrize("around", ["{}", "The key is {}.", "KEY={}\nNEXT=1", '{{"key": "{}"}}', "é{}é"])
def test_a_credential_is_replaced_by_its_name(kind: str, context: str, secret: str, around: str) -> None:
    redactor = Redactor(SALT)
    redacted = redactor.text(around.format(context.format(secret)))
    name = f"[redacted:{kind}:{keyed_hash(secret, SALT)[:8]}]"
    assert redacted == around.format(context.format(name))
    assert redactor.count == 1


def test_every_format_has_a_case() -> None:
    assert {entry.kind for entry in FORMATS} == {kind for kind, *_ in CASES}


def test_each_format_contains_one_of_its_marks() -> None:
    """Marks are searched first: with a wrong mark the pattern would never be tried."""
    for kind, context, secret in CASES:
        text = context.format(secret)
        found = [entry for entry in FORMATS if entry.kind == kind and entry.pattern.search(text)]
        assert found, text
        assert all(any(mark in text for mark in entry.marks) for entry in found)


@pytest.mark.parametrize(
    "text",
    [
        "The task-force met, and the desk-bound risk-averse clerk did not mind at all.",
        "https://example.com:8080/path?x=1 and user@example.com, see http://localhost:11434/v1",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "id chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012 call_AbCdEfGhIjKlMnOpQrStUvWx",
        "123e4567-e89b-12d3-a456-426614174000",
        "import sk_learn; xoxo; SG.1; AIzaTooShort; ghp_short; Bearer of bad news",
        "def bearer_of_long_identifiers_that_are_not_tokens(): pass",
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----",
        "word " * 1000,
        "",
    ],
)
def test_text_without_a_credential_stays(text: str) -> None:
    redactor = Redactor(SALT)
    assert redactor.text(text) == text
    assert redactor.text(text) == text
    assert redactor.count == 0


def test_images_stay_even_if_they_look_like_a_credential() -> None:
    image = "data:image/png;base64," + (LETTERS + "/AIza" + LETTERS[:35] + "/") * 20
    assert Redactor(SALT).text(image) == image


def test_a_name_depends_on_the_credential_and_the_salt() -> None:
    secret = CREDENTIALS["api-key"][0]
    redactor = Redactor(SALT)
    assert redactor.text(f"{secret} {secret}").split()[0] == redactor.text(secret)
    assert redactor.count == 3
    assert Redactor(b"other" * 8).text(secret) != redactor.text(secret)


def test_a_name_is_not_redacted_again() -> None:
    redactor = Redactor(SALT)
    for kind, context, secret in CASES:
        once = redactor.text(context.format(secret))
        assert redactor.text(once) == once, kind


def test_json_values_are_searched() -> None:
    secret = CREDENTIALS["github-token"][0]
    value: Any = {"a": [{"b": f"x {secret}"}, 1, None, True], secret: "key", "c": {"d": 1.5}}
    redactor = Redactor(SALT)
    redacted = redactor.value(value)
    assert secret not in json.dumps(redacted)
    assert redacted["a"][1:] == [1, None, True]
    assert redactor.count == 2


@pytest.mark.parametrize("name", ["api_key", "Authorization", "X-API-Key", "password"])
def test_members_for_credentials_are_replaced_in_any_format(name: str) -> None:
    redactor = Redactor(SALT)
    assert redactor.value({name: "hunter2"}) == {name: f"[redacted:credential:{keyed_hash('hunter2', SALT)[:8]}]"}
    schema = {name: {"type": "string"}, "required": [name]}
    assert redactor.value(schema) == schema


def test_user_formats_are_added_to_the_known_ones() -> None:
    redactor = Redactor(SALT, (user_format(r"ACME-\d{4}"), user_format(r"pin (\d+)")))
    redacted = redactor.text("ACME-1234, pin 99, " + CREDENTIALS["api-key"][0])
    assert re.fullmatch(r"\[redacted:own:\w{8}\], pin \[redacted:own:\w{8}\], \[redacted:api-key:\w{8}\]", redacted), (
        redacted
    )
    with pytest.raises(re.error):
        user_format("(")


@pytest.mark.parametrize("secret", ["hunter2", "Abc/+=.-~", "$3cret;x", "ключ-0001"])
@pytest.mark.parametrize("around", ["{}", "Incorrect key: {}.", '"{}"', "x={}&y=1", "[{}]"])
def test_credentials_known_by_their_hash_are_found_as_whole_words(secret: str, around: str) -> None:
    known = (Credential(5, "0"), Credential(len(secret), keyed_hash(secret, SALT)))
    redactor = Redactor(SALT)
    redacted = redactor.without({"error": [around.format(secret), 1]}, known)
    assert redacted == {"error": [around.format(f"[redacted:credential:{keyed_hash(secret, SALT)[:8]}]"), 1]}
    assert redactor.count == 1


def test_texts_without_the_known_credential_stay() -> None:
    redactor = Redactor(SALT)
    assert redactor.without("Incorrect key", (Credential(9, keyed_hash("incorrect", SALT)),)) == "Incorrect key"
    assert redactor.count == 0
