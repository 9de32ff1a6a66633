"""Three network namespaces in a row: a client, a gateway that it sends everything through, and a server.

Names are of this process alone, and what stands here is gone afterwards. Needs root and `ip`.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.support.machine.programs import SECONDS, require

CLIENT_ADDRESS, CLIENT_GATEWAY = "10.77.1.2", "10.77.1.1"
SERVER_ADDRESS, SERVER_GATEWAY = "10.77.2.2", "10.77.2.1"
CLIENT_LINK = "to-client"


@dataclass(frozen=True)
class Namespaces:
    """Their names."""

    client: str
    gateway: str
    server: str

    def inside(self, name: str) -> tuple[str, ...]:
        """What to put before a command, for it to run in a namespace."""
        return (require("ip"), "netns", "exec", name)


@contextmanager
def gateway_between() -> Iterator[Namespaces]:
    """Make them; skips the test where that is not allowed."""
    if not hasattr(os, "setns"):
        pytest.skip("there are no network namespaces here")
    ip = require("ip")
    mark = secrets.token_hex(4)
    names = Namespaces(*(f"tapeline-{role}-{mark}" for role in ("client", "gateway", "server")))
    try:
        for name in (names.client, names.gateway, names.server):
            refused = _run(ip, "netns", "add", name)
            if refused:
                pytest.skip(f"ip netns add is refused: {refused}")
        for command in _links(names):
            refused = _run(ip, *command.split())
            if refused:
                pytest.skip(f"ip {command} is refused: {refused}")
        yield names
    finally:
        for name in (names.client, names.gateway, names.server):
            _run(ip, "netns", "delete", name)


def redirect(names: Namespaces, ports: str, to_port: int) -> None:
    """Lead what the client sends to TCP ports into a port of the gateway's own; skips where nft is refused."""
    rules = (
        "table inet tapeline {\n"
        "  chain in {\n"
        "    type nat hook prerouting priority dstnat;\n"
        f'    iifname "{CLIENT_LINK}" tcp dport {{ {ports} }} redirect to :{to_port}\n'
        "  }\n"
        "}\n"
    )
    if refused := _run(*names.inside(names.gateway), require("nft"), "-f", "-", text=rules):
        pytest.skip(f"nft is refused: {refused}")


def call_inside[Result](name: str, function: Callable[[], Result]) -> Result:
    """Call a function in a namespace; sockets that it makes belong there for ever."""

    def enter_and_call() -> Result:
        with open(f"/var/run/netns/{name}") as namespace:  # noqa: PTH123 - a file descriptor is all that is wanted
            os.setns(namespace.fileno(), os.CLONE_NEWNET)
        return function()

    # Entering holds for one thread, which is given up with it.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter_and_call).result(SECONDS)


def _links(names: Namespaces) -> Iterator[str]:
    """Arguments for `ip` that connect the namespaces."""
    client, gateway, server = names.client, names.gateway, names.server
    yield f"-n {client} link add out type veth peer name {CLIENT_LINK} netns {gateway}"
    yield f"-n {server} link add out type veth peer name to-server netns {gateway}"
    for name, link, address in (
        (client, "out", CLIENT_ADDRESS),
        (gateway, CLIENT_LINK, CLIENT_GATEWAY),
        (server, "out", SERVER_ADDRESS),
        (gateway, "to-server", SERVER_GATEWAY),
    ):
        yield f"-n {name} address add {address}/24 dev {link}"
        yield f"-n {name} link set {link} up"
    for name in (client, gateway, server):
        yield f"-n {name} link set lo up"
    yield f"-n {client} route add default via {CLIENT_GATEWAY}"
    yield f"-n {server} route add default via {SERVER_GATEWAY}"


def _run(*command: str, text: str = "") -> str:
    """Run a command; gives what it complains of, nothing if it succeeds."""
    result = subprocess.run(command, input=text, capture_output=True, text=True, timeout=SECONDS, check=False)
    return (result.stderr.strip() or f"exit code {result.returncode}") if result.returncode else ""
