"""What `tapeline record` takes from the user's environment: whom to trust, and which proxy to go through."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tapeline.pipeline.client_env import trusted_bundle
from tapeline.pipeline.provider import BuiltInProvider

from .support.recorder import RunningRecorder, clean_environment, query, tapeline

pytestmark = pytest.mark.slow

BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}


def ask(address: str) -> httpx.Response:
    return httpx.post(f"{address}/v1/chat/completions", json=BODY, timeout=20, trust_env=False)


def test_the_users_own_certificates_are_trusted_upstream(
    data: Path, https_provider: BuiltInProvider, authority: Path
) -> None:
    upstream = https_provider.url.replace("127.0.0.1", "localhost")
    environment = clean_environment(SSL_CERT_FILE=str(authority / "ca.pem"))
    with RunningRecorder(data, "--upstream", upstream, environment=environment) as recorder:
        assert ask(recorder.address).status_code == 200
    with RunningRecorder(data, "--upstream", upstream) as recorder:
        assert ask(recorder.address).status_code == 502
    rows = query(data, "SELECT outcome, outcome_detail FROM exchanges ORDER BY started_at")
    assert [row["outcome"] for row in rows] == ["complete", "unreachable"]
    assert "ertificate" in rows[1]["outcome_detail"]


def test_the_bundle_is_the_users_else_the_systems(tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.write_text("certificate")
    assert trusted_bundle({"SSL_CERT_FILE": str(own)}) == own
    assert trusted_bundle({"SSL_CERT_FILE": str(tmp_path / "missing.pem")}) == trusted_bundle({})
    assert trusted_bundle({}).read_bytes().startswith((b"#", b"-", b"\n"))


def test_a_proxy_that_the_environment_names_is_gone_through(data: Path, provider: BuiltInProvider) -> None:
    environment = clean_environment(HTTPS_PROXY=provider.url)
    with RunningRecorder(data, environment=environment) as recorder:
        with httpx.Client(proxy=recorder.address, trust_env=False, timeout=20) as client:
            answer = client.post("http://api.aiand.com/v1/chat/completions", json=BODY)
        assert answer.status_code in (200, 401)
        assert "Going through the proxy" in recorder.said
    assert query(data, "SELECT provider, mode FROM exchanges") == [{"provider": "aiand", "mode": "upstream"}]


def test_a_proxy_that_cannot_be_gone_through_is_refused_without_its_password(data: Path) -> None:
    environment = clean_environment(ALL_PROXY="socks5://user:secret@127.0.0.1:1")
    result = tapeline("record", "--data", data, "--", "true", environment=environment)
    assert result.returncode == 2
    assert "socks5" in result.stderr
    assert "secret" not in result.stderr
