"""Turns the user's options on where to listen into mitmproxy's mode specs, each with its own port.

mitmproxy refuses two modes on port 0 of one address, so free ports are found here.
https://docs.mitmproxy.org/stable/concepts/modes/

Everyone who reaches a port can use it. By default only this machine does; otherwise there is a warning.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from ..errors import UsageError

#: Modes that listen on a TCP port.
LISTENING_MODES = ("regular", "reverse", "transparent", "upstream", "socks5")
#: Modes whose clients can send a password for the proxy; clients of a reverse proxy send their API key there.
PASSWORD_MODES = ("regular", "upstream", "socks5")
_UPSTREAM_SCHEMES = ("http", "https")
# Values that mitmproxy does not read as a user and a password.
_OTHER_PROXYAUTH = ("@", "ldap")


@dataclass(frozen=True)
class ListeningMode:
    """One mode spec, with the parts that the rest of Tapeline needs."""

    spec: str
    name: str
    target: str
    host: str
    port: int | None

    @property
    def address(self) -> str:
        """The URL by which a client on this machine reaches it."""
        host = self.host if self.host not in ("", "0.0.0.0", "::") else "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def is_for_others(self) -> bool:
        """Whether other machines can reach it."""
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"


def plan_modes(specs: tuple[str, ...], listen_host: str, port: int | None) -> list[ListeningMode]:
    """Return mode specs with a port each: the one in the spec, else `port` (for one mode only), else a free one.

    A spec without an address gets `listen_host`: mitmproxy would listen on all addresses.
    """
    parsed = [_parse(spec, listen_host) for spec in specs]
    without_port = [mode for mode in parsed if mode.port is None and mode.name in LISTENING_MODES]
    if port is not None and len(without_port) != 1:
        raise UsageError(
            f"--port {port} fits one mode without a port, here are {len(without_port)}: write it into the mode, "
            "as in `--mode regular@127.0.0.1:8080`."
        )
    free = iter([port] if port is not None else _free_ports([mode.host for mode in without_port]))
    return [_with_port(mode, mode.port or next(free)) if mode.name in LISTENING_MODES else mode for mode in parsed]


def warnings(modes: Iterable[ListeningMode], *, has_password: bool) -> Iterator[str]:
    """Return warnings for modes that other machines can reach without a password."""
    for mode in modes:
        if has_password or not mode.is_for_others:
            continue
        if mode.name in PASSWORD_MODES:
            yield (
                f"Warning: whoever reaches {mode.host} port {mode.port} can use this proxy for any host that this "
                "machine reaches, as if from here. Ask for a password with --proxyauth, or listen on 127.0.0.1."
            )
        elif mode.name == "reverse":
            yield (
                f"Warning: whoever reaches {mode.host} port {mode.port} can use {mode.target} as if from here, and is "
                "recorded. Keep others away by a firewall, or listen on 127.0.0.1."
            )


def password_setting(password: str, modes: Iterable[ListeningMode]) -> str:
    """Return mitmproxy's option for `--proxyauth USER:PASSWORD`. Raises UsageError, without the password in it."""
    user, _, secret = password.partition(":")
    if not user or not secret or ":" in secret or password.startswith(_OTHER_PROXYAUTH):
        raise UsageError(
            "--proxyauth takes USER:PASSWORD, with one colon, and a user that begins with neither @ nor ldap."
        )
    for mode in modes:
        if mode.name not in PASSWORD_MODES:
            raise UsageError(
                f"--proxyauth does not go with --mode {mode.name}, whose clients have their API key in its place: "
                f"it is for {', '.join(PASSWORD_MODES)}."
            )
    return f"proxyauth={password}"


def reverse_mode(upstream: str) -> tuple[str, str]:
    """Return the mode spec for `--upstream URL`, and the path that clients put behind the local address."""
    parts = urlsplit(upstream if "://" in upstream else f"https://{upstream}")
    if parts.scheme not in _UPSTREAM_SCHEMES or not parts.hostname:
        raise UsageError(f"--upstream {upstream!r} is no http or https URL, such as https://api.openai.com/v1.")
    if parts.username or parts.password:
        raise UsageError("--upstream takes no user and password: the client sends its own credentials.")
    return f"reverse:{parts.scheme}://{parts.netloc}", parts.path.rstrip("/") or "/v1"


def upstream_mode(proxy: str) -> tuple[str, str | None]:
    """Return the mode spec for going through another proxy, and its "user:password" if the URL has one."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in _UPSTREAM_SCHEMES:
        raise UsageError(
            f"The environment names a {parts.scheme} proxy, and only http and https ones can be gone through: "
            "unset it (ALL_PROXY, HTTPS_PROXY), or say where to go with --upstream or --mode."
        )
    credentials, _, address = parts.netloc.rpartition("@")
    return f"upstream:{parts.scheme}://{address}", credentials or None


def _parse(spec: str, listen_host: str) -> ListeningMode:
    head, at, listen = spec.rpartition("@")
    if not at:
        head, listen = spec, ""
    name, _, target = head.partition(":")
    host, _, port = listen.rpartition(":")
    try:
        number = int(port) if port else None
    except ValueError:
        raise UsageError(f"--mode {spec!r}: {port!r} is no port.") from None
    return ListeningMode(spec, name.lower(), target, host.strip("[]") or listen_host, number or None)


def _with_port(mode: ListeningMode, port: int) -> ListeningMode:
    head = mode.spec.rpartition("@")[0] or mode.spec
    return ListeningMode(f"{head}@{mode.host}:{port}", mode.name, mode.target, mode.host, port)


def _free_ports(hosts: list[str]) -> list[int]:
    sockets = []
    try:
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            bound = socket.socket(family)
            sockets.append(bound)
            try:
                bound.bind((host, 0))
            except OSError as error:
                raise UsageError(f"Cannot listen on {host!r}: {error.strerror}.") from error
        return [bound.getsockname()[1] for bound in sockets]
    finally:
        for bound in sockets:
            bound.close()
