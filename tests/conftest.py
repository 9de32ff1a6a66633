"""Fixtures that several tests use: a data directory, the built-in provider, a certificate authority for it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapeline.pipeline.demo import BuiltInProvider
from tests.support.servers.authority import make_authority, server_context


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "recordings"


@pytest.fixture
def provider() -> Iterator[BuiltInProvider]:
    """The built-in provider over plain HTTP, without its delays."""
    with BuiltInProvider(pace=0) as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate authority (`ca.pem`) and its certificate for localhost."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def https_provider(authority: Path) -> Iterator[BuiltInProvider]:
    """The built-in provider over HTTPS. Clients and proxies that use it have to trust `authority / "ca.pem"`."""
    context: ssl.SSLContext = server_context(authority)
    with BuiltInProvider(pace=0, ssl_context=context) as running:
        yield running
