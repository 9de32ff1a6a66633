"""The bundle that clients are given: what they trust today, each certificate once, and the recorder's own."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import certifi
import pytest

from tapeline.pipeline.proxy import client_env
from tapeline.pipeline.proxy.client_env import client_environment, write_ca_bundle, write_trusted

SYSTEM = b"-----BEGIN CERTIFICATE-----\nSYSTEM\n-----END CERTIFICATE-----\n"


@pytest.fixture
def certificate(authority: Path) -> Path:
    return authority / "ca.pem"


def in_pem(data: bytes) -> bytes:
    """The certificates of a PEM file, without what stands between them."""
    found = re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", data, re.DOTALL)
    return b"".join(pem + b"\n" for pem in found)


def test_bundle_holds_what_the_user_trusts_and_our_certificate(tmp_path: Path, certificate: Path) -> None:
    pems = {name: f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----".encode() for name in ("R", "N")}
    (tmp_path / "requests.pem").write_bytes(pems["R"])  # no line break at its end
    (tmp_path / "node.pem").write_bytes(b"a comment\n" + pems["N"] + b"\n")
    names = {"SSL_CERT_FILE": "gone", "REQUESTS_CA_BUNDLE": "requests.pem", "NODE_EXTRA_CA_CERTS": "node.pem"}
    base = {variable: str(tmp_path / name) for variable, name in names.items()}

    bundle = write_ca_bundle(tmp_path / "bundle.pem", certificate, base)

    system = write_ca_bundle(tmp_path / "system.pem", certificate, {}).read_bytes()
    own = in_pem(certificate.read_bytes())
    assert bundle.read_bytes() == system.removesuffix(own) + pems["R"] + b"\n" + pems["N"] + b"\n" + own
    assert bundle.stat().st_mode & 0o777 == 0o600


def test_bundle_written_over_itself_does_not_grow(tmp_path: Path, certificate: Path) -> None:
    bundle = write_ca_bundle(tmp_path / "bundle.pem", certificate, {})
    first = bundle.read_bytes()

    again = write_ca_bundle(
        bundle, certificate, client_environment({}, proxy_url="http://127.0.0.1:1", ca_bundle=bundle)
    )

    assert again.read_bytes() == first


@pytest.mark.parametrize("system", [True, False])
def test_bundle_without_a_users_one_is_the_systems_else_certifis(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch, system: bool
) -> None:
    (tmp_path / "system.pem").write_bytes(SYSTEM)
    paths = ssl.DefaultVerifyPaths(str(certificate), "", "", "/nowhere", "", "")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(client_env, "SYSTEM_BUNDLES", (str(tmp_path / "system.pem"),) if system else ())

    bundle = write_ca_bundle(tmp_path / "bundle.pem", certificate, {})

    expected = SYSTEM if system else Path(certifi.where()).read_bytes()
    assert bundle.read_bytes() == in_pem(expected + certificate.read_bytes())


def test_bundle_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, certificate: Path) -> None:
    (tmp_path / "taken").mkdir()

    with pytest.raises(OSError, match="taken"):
        write_ca_bundle(tmp_path / "taken", certificate, {})

    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_trusted_are_the_systems_certificates_and_all_that_variables_name(tmp_path: Path) -> None:
    system = write_trusted(tmp_path / "system.pem", {}).read_text()
    pem = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
    (tmp_path / "own.pem").write_text(pem.format("one client's authority"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.pem").write_text(pem.format("of a folder"))
    (tmp_path / "folder" / "key.pem").write_text("no certificate")
    base = {
        "AWS_CA_BUNDLE": str(tmp_path / "own.pem"),
        "PIP_CERT": str(tmp_path / "missing.pem"),
        "SSL_CERT_DIR": str(tmp_path / "folder"),
    }
    trusted = write_trusted(tmp_path / "trusted.pem", base).read_text()
    assert trusted.startswith(system)
    assert "one client's authority" in trusted
    assert "of a folder" in trusted
    assert "no certificate" not in trusted
