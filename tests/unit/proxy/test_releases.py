"""The list of private names is true, and parts stay away from releases that were not tested."""

from __future__ import annotations

import importlib
import inspect
import logging
from importlib import metadata
from typing import Any

import pytest
from mitmproxy.master import Master
from mitmproxy.proxy import mode_servers
from mitmproxy.proxy.layers import http as layers

from tapeline.pipeline.proxy import fast_path, releases
from tapeline.pipeline.proxy.fixes import install_fixes

PARTS = {"fixes": releases.FIXES, "fast_path": releases.FAST_PATH, "fast_tls": releases.FAST_TLS}
NAMES = [name for part in PARTS.values() for name in (*part.patched, *part.read)]
REPLACED = (
    *((layers, name) for name in ("HttpStream", "Http1Server", "Http1Client", "Http2Server", "Http2Client")),
    (layers, "GetHttpConnection"),
    (mode_servers, "ProxyConnectionHandler"),
)


@pytest.fixture
def no_tested_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _package: "99.0")


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_a_private_name_is_there(name: str) -> None:
    module, _, path = name.partition(":")
    value: Any = importlib.import_module(module)
    for step in path.split("."):
        if step.endswith("()"):
            value = getattr(value, step[:-2])
        elif "()" in path and isinstance(value, type) and not hasattr(value, step):
            sources = [inspect.getsource(kind) for kind in value.__mro__[:-1] if kind.__module__ != "builtins"]
            assert any(f"self.{step}" in source or f"{step}:" in source for source in sources)
            return
        else:
            value = getattr(value, step)


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_what_is_installed_here_was_tested(part: releases.Insides) -> None:
    assert part.untested() == []


@pytest.mark.parametrize("package", ["mitmproxy", "h2", "h11"])
def test_one_release_that_differs_is_enough(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "99.0" if name == package else installed(name))
    for part in (releases.FIXES, releases.FAST_PATH):
        assert part.untested() == [f"{package} 99.0"]


@pytest.mark.usefixtures("no_tested_release")
def test_mitmproxy_stays_as_it_is_with_other_releases(caplog: pytest.LogCaptureFixture) -> None:
    before = [getattr(module, name) for module, name in REPLACED]
    with caplog.at_level(logging.WARNING):
        assert not install_fixes()
    assert [getattr(module, name) for module, name in REPLACED] == before
    assert "mitmproxy 99.0, h11 99.0, h2 99.0" in caplog.text


@pytest.mark.usefixtures("no_tested_release")
def test_the_fast_path_stays_away_from_other_releases() -> None:
    before = [getattr(module, name) for module, name in REPLACED]
    assert not fast_path.install(Master.__new__(Master))
    assert [getattr(module, name) for module, name in REPLACED] == before
