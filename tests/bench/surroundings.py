"""The provider on every wire, and the clients that reach it through a proxy or directly."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import http1, http2
from tests.bench.crowd import Crowd, Exchange
from tests.bench.proxies import Running
from tests.support.servers.authority import make_authority, server_context

#: Clients that share an HTTP/2 connection, as those of one program do.
SHARING = 16
CONNECT_SECONDS = 20.0


@dataclass(frozen=True)
class Wire:
    """The protocol between clients, proxy and provider."""

    name: str
    is_tls: bool = False
    is_http2: bool = False


HTTP = Wire("HTTP/1.1")
HTTPS = Wire("HTTPS, HTTP/1.1", is_tls=True)
HTTPS_2 = Wire("HTTPS, HTTP/2", is_tls=True, is_http2=True)
WIRES = (HTTP, HTTPS, HTTPS_2)


class Surroundings:
    """The provider on every wire, and the certificate authority that a proxy has to trust."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = make_authority(folder)
        self.exchanges: dict[int, Exchange] = {}
        self.ports: dict[Wire, int] = {}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Surroundings]:
        loop = asyncio.get_running_loop()
        servers = []
        for wire in WIRES:
            context = server_context(self.authority) if wire.is_tls else None
            if context is not None:
                context.set_alpn_protocols(["h2"] if wire.is_http2 else ["http/1.1"])
            provider = http2.Provider if wire.is_http2 else http1.Provider
            server = await loop.create_server(
                lambda provider=provider: provider(self.exchanges), "127.0.0.1", 0, ssl=context, backlog=1024
            )
            self.ports[wire] = server.sockets[0].getsockname()[1]
            servers.append(server)
        try:
            yield self
        finally:
            for server in servers:
                server.close()

    @property
    def upstream(self) -> str:
        return f"http://127.0.0.1:{self.ports[HTTP]}"

    @property
    def trust(self) -> tuple[str, ...]:
        return ("--set", f"ssl_verify_upstream_trusted_ca={self.authority / 'ca.pem'}")

    async def crowd(self, running: Running | None, wire: Wire, clients: int, crowd: Crowd) -> list[asyncio.Transport]:
        """Connect clients through a proxy, or directly if `running` is None. Returns their connections."""
        lengths = random.Random(1).sample(range(1, max(crowd.events, clients) + 1), clients)
        lengths = [max(1, length * crowd.events // max(crowd.events, clients)) for length in lengths]
        step = SHARING if wire.is_http2 else 1
        transports = []
        for start in range(0, clients, step):
            protocol = self._client(wire, crowd, lengths[start : start + step])
            transports.append(await asyncio.wait_for(self._connect(running, wire, protocol), CONNECT_SECONDS))
        return transports

    def _client(self, wire: Wire, crowd: Crowd, lengths: list[int]) -> Callable[[], asyncio.Protocol]:
        host = f"localhost:{self.ports[wire]}"
        if wire.is_http2:
            return lambda: http2.Client(crowd, host, lengths)
        return lambda: http1.Client(crowd, host, lengths[0])

    async def _connect(
        self, running: Running | None, wire: Wire, protocol: Callable[[], asyncio.Protocol]
    ) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        port = self.ports[wire] if running is None else running.port
        if not wire.is_tls:
            return (await loop.create_connection(protocol, "127.0.0.1", port))[0]
        # The clients check no certificate: that would cost both sides the same, and is not measured.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"] if wire.is_http2 else ["http/1.1"])
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setblocking(False)
        if running is not None:
            name = f"localhost:{self.ports[wire]}"
            await loop.sock_sendall(connection, f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            reply = await loop.sock_recv(connection, 4096)
            if b" 200 " not in reply:
                raise RuntimeError(f"no tunnel: {reply!r}")
        return (await loop.create_connection(protocol, ssl=context, sock=connection, server_hostname="localhost"))[0]
