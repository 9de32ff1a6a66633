"""Who may connect: this machine alone unless told otherwise, a warning where it is more, and a password on demand."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tapeline.pipeline.demo import BuiltInProvider
from tapeline.pipeline.errors import UsageError
from tapeline.pipeline.proxy.modes import password_setting, plan_modes, warnings
from tests.support.clients.wire import KEY, PATH, chat, tunnel
from tests.support.processes.recorder import RunningRecorder, clean_environment, query, tapeline

pytestmark = pytest.mark.slow

CANARY = "canary-6e02c5"
USER = "somebody"
PASSWORD = f"{USER}:{CANARY}"


def warned(*specs: str, host: str = "127.0.0.1", has_password: bool = False) -> list[str]:
    return list(warnings(plan_modes(specs, host, None), has_password=has_password))


@pytest.mark.parametrize("spec", ["regular", "reverse:http://h", "upstream:http://h:1", "socks5", "transparent"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_loopback_needs_no_warning(spec: str, host: str) -> None:
    assert warned(spec, host=host) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_open_proxy_is_warned_of(host: str) -> None:
    (warning,) = warned("regular", host=host)
    assert "any host" in warning
    assert "--proxyauth" in warning


@pytest.mark.parametrize("spec", ["regular@0.0.0.0:8080", "socks5@[::]:8080", "upstream:http://h:1@192.0.2.1:8080"])
def test_an_address_in_a_mode_counts(spec: str) -> None:
    assert len(warned(spec)) == 1


def test_each_mode_is_warned_of_by_itself() -> None:
    first, second = warned("regular@127.0.0.1:1", "reverse:https://api.openai.com@0.0.0.0:2", "regular@0.0.0.0:3")
    assert "https://api.openai.com" in first
    assert "firewall" in first
    assert "port 3 " in second


@pytest.mark.parametrize("spec", ["transparent@0.0.0.0:8080", "wireguard", "local:curl"])
def test_modes_that_nobody_can_address_need_no_warning(spec: str) -> None:
    assert warned(spec) == []


def test_a_password_spares_the_warning() -> None:
    assert warned("regular", host="0.0.0.0", has_password=True) == []


@pytest.mark.parametrize(
    "password", ["", CANARY, f"{CANARY}:", f":{CANARY}", f"{CANARY}:b:c", f"@{CANARY}:b", f"ldap:{CANARY}"]
)
def test_what_is_no_password_is_refused_and_not_repeated(password: str) -> None:
    with pytest.raises(UsageError) as error:
        password_setting(password, plan_modes(("regular",), "127.0.0.1", None))
    assert CANARY not in str(error.value)


@pytest.mark.parametrize("spec", ["reverse:http://h", "transparent"])
def test_a_password_where_the_api_key_stands_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match=spec.partition(":")[0]) as error:
        password_setting(PASSWORD, plan_modes(("regular", spec), "127.0.0.1", None))
    assert CANARY not in str(error.value)


def test_a_password_for_a_command_is_refused(data: Path) -> None:
    result = tapeline("record", "--data", data, "--proxyauth", PASSWORD, "--", "true")
    assert result.returncode == 2
    assert "--proxyauth" in result.stderr
    assert CANARY not in result.stderr


def reaches(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("options", [(), ("--upstream", "http://127.0.0.1:1")])
def test_by_itself_it_is_open_to_this_machine_alone(options: tuple[str, ...], data: Path) -> None:
    with RunningRecorder(data, *options) as recorder:
        port = urlsplit(recorder.address).port or 0
        # Linux gives each of 127.0.0.0/8 to this machine: whoever listens everywhere listens there, too.
        assert (reaches("127.0.0.1", port), reaches("127.0.0.2", port)) == (True, False)
    assert "Warning" not in recorder.said


def test_elsewhere_it_warns_before_it_is_ready(data: Path) -> None:
    with RunningRecorder(data, "--listen-host", "0.0.0.0") as recorder:
        assert reaches("127.0.0.2", urlsplit(recorder.address).port or 0)
    assert recorder.said.startswith("Warning: whoever reaches 0.0.0.0 ")


@pytest.fixture(params=["--proxyauth", "TAPELINE_PROXYAUTH", "--set"])
def guarded(request: pytest.FixtureRequest, data: Path) -> Iterator[RunningRecorder]:
    """A recorder that listens everywhere, and asks for a password that was given in one of three ways."""
    options: tuple[str, ...] = ("--listen-host", "0.0.0.0")
    environment = clean_environment()
    if request.param == "TAPELINE_PROXYAUTH":
        environment[request.param] = PASSWORD
    else:
        options += (request.param, PASSWORD if request.param == "--proxyauth" else f"proxyauth={PASSWORD}")
    with RunningRecorder(data, *options, environment=environment) as recorder:
        yield recorder


def through(recorder: RunningRecorder, url: str, **headers: str) -> tuple[int, bytes]:
    """Post a chat request by way of the proxy."""
    proxy = urlsplit(recorder.address)
    with closing(HTTPConnection(str(proxy.hostname), proxy.port, timeout=30)) as connection:
        connection.request("POST", url + PATH, chat(), {"Authorization": KEY} | headers)
        response = connection.getresponse()
        return response.status, response.read()


def basic(password: str) -> str:
    return f"Basic {b64encode(password.encode()).decode()}"


def test_only_who_knows_the_password_gets_through(
    guarded: RunningRecorder, provider: BuiltInProvider, data: Path
) -> None:
    proxy = guarded.address.replace("://", f"://{PASSWORD}@")
    assert through(guarded, provider.url)[0] == 407
    assert through(guarded, provider.url, **{"Proxy-Authorization": basic(f"{USER}:wrong")})[0] == 407
    with pytest.raises(OSError, match="407"):
        tunnel(guarded, provider.port).connect()
    with httpx.Client(proxy=proxy, trust_env=False, timeout=30) as client:
        answer = client.post(provider.url + PATH, content=chat(), headers={"Authorization": KEY})
    assert answer.status_code == 200
    assert guarded.stop() == 0
    assert len(provider.sent) == 1
    (row,) = query(data, "SELECT outcome, to_json(request_headers) AS headers FROM exchanges")
    assert row["outcome"] == "complete"
    assert "proxy-authorization" not in row["headers"]
    assert "could not be reached" not in guarded.said


def test_the_password_is_kept_nowhere(guarded: RunningRecorder, provider: BuiltInProvider, data: Path) -> None:
    secrets = (CANARY, basic(PASSWORD).removeprefix("Basic "))
    assert through(guarded, provider.url, **{"Proxy-Authorization": basic(PASSWORD)})[0] == 200
    assert through(guarded, provider.url, **{"Proxy-Authorization": basic(f"{USER}:{CANARY}-wrong")})[0] == 407
    assert guarded.stop() == 0
    assert not any(secret in guarded.said for secret in secrets)
    (sent,) = provider.sent
    assert not any(secret in str(vars(sent)) for secret in secrets)
    for path in data.rglob("*"):
        if path.is_file():
            assert not any(secret.encode() in path.read_bytes() for secret in secrets), path
