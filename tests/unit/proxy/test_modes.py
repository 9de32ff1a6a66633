"""What a user says about where to listen, and the mitmproxy mode specs that come of it."""

from __future__ import annotations

import pytest
from mitmproxy.proxy.mode_specs import ProxyMode

from tapeline.pipeline.errors import UsageError
from tapeline.pipeline.proxy.modes import plan_modes, reverse_mode, upstream_mode


def test_each_mode_gets_a_free_port_of_its_own() -> None:
    modes = plan_modes(("regular", "reverse:http://127.0.0.1:9000", "socks5"), "127.0.0.1", None)
    ports = {mode.port for mode in modes}
    assert len(ports) == 3
    assert [mode.spec for mode in modes] == [
        f"regular@127.0.0.1:{modes[0].port}",
        f"reverse:http://127.0.0.1:9000@127.0.0.1:{modes[1].port}",
        f"socks5@127.0.0.1:{modes[2].port}",
    ]


def test_a_port_goes_to_the_one_mode_that_has_none() -> None:
    modes = plan_modes(("regular@127.0.0.1:8081", "reverse:https://api.openai.com"), "127.0.0.1", 9999)
    assert [mode.port for mode in modes] == [8081, 9999]


@pytest.mark.parametrize("specs", [("regular", "socks5"), ("regular@8080",)])
def test_a_port_that_fits_no_mode_or_several_is_refused(specs: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="9999"):
        plan_modes(specs, "127.0.0.1", 9999)


@pytest.mark.parametrize(
    ("spec", "address"),
    [
        ("regular@127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("regular@0.0.0.0:8081", "http://127.0.0.1:8081"),
        ("regular@8081", "http://127.0.0.1:8081"),
        ("regular@[::1]:8081", "http://[::1]:8081"),
    ],
)
def test_the_address_is_where_a_client_on_this_machine_finds_it(spec: str, address: str) -> None:
    assert plan_modes((spec,), "127.0.0.1", None)[0].address == address


def test_modes_that_choose_their_own_port_are_left_alone() -> None:
    assert [mode.spec for mode in plan_modes(("wireguard", "local:curl"), "127.0.0.1", None)] == [
        "wireguard",
        "local:curl",
    ]


@pytest.mark.parametrize("spec", ["regular", "reverse:https://h", "upstream:http://h:1", "transparent", "socks5"])
def test_mitmproxy_reads_what_comes_out(spec: str) -> None:
    (mode,) = plan_modes((spec,), "127.0.0.1", None)
    parsed = ProxyMode.parse(mode.spec)
    assert (parsed.type_name, parsed.listen_port(), parsed.listen_host()) == (mode.name, mode.port, "127.0.0.1")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openai.com", ("reverse:https://api.openai.com", "/v1")),
        ("https://api.openai.com/v1/", ("reverse:https://api.openai.com", "/v1")),
        ("http://localhost:8000/api/v1", ("reverse:http://localhost:8000", "/api/v1")),
        ("api.openai.com", ("reverse:https://api.openai.com", "/v1")),
    ],
)
def test_upstream_is_short_for_reverse(url: str, expected: tuple[str, str]) -> None:
    assert reverse_mode(url) == expected


@pytest.mark.parametrize("url", ["ftp://host", "https://", "https://user:secret@host/v1"])
def test_an_upstream_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as error:
        reverse_mode(url)
    assert "secret" not in str(error.value)


def test_credentials_of_another_proxy_do_not_stay_in_the_spec() -> None:
    assert upstream_mode("http://user:secret@proxy:3128/") == ("upstream:http://proxy:3128", "user:secret")
    assert upstream_mode("proxy:3128") == ("upstream:http://proxy:3128", None)


def test_a_proxy_that_cannot_be_gone_through_is_refused() -> None:
    with pytest.raises(UsageError, match="socks5"):
        upstream_mode("socks5://user:secret@proxy:1080")
