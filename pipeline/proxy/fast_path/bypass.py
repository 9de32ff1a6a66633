"""Carries bytes from a server's socket to its client's, past the layers in between.

The layers would only decrypt a stream's bytes, hand them on and encrypt them. A `Forward` decides what the client is
sent; bytes that it refuses go through the layers. There is no bypass where one of the layers is not a known one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from mitmproxy.connection import Connection
from mitmproxy.proxy import tunnel
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.layers import http as layers
from mitmproxy.proxy.layers import modes, tls
from mitmproxy.proxy.layers.http import _http1, _http2
from mitmproxy.proxy.server import ConnectionHandler
from OpenSSL import SSL

from .tls import TlsEnd, is_known

#: Takes bytes from a server and returns the bytes for its client; None where the layers have to handle them.
Forward = Callable[[bytes], bytes | None]
_TLS = (tls.ServerTLSLayer, tls.ClientTLSLayer)
_HANDING_ON = (
    modes.ReverseProxy,
    modes.HttpProxy,
    modes.TransparentProxy,
    modes.Socks5Proxy,
    layers.HttpLayer,
    layers.HttpClient,
)
_ENDS = (_http1.Http1Client, _http2.Http2Client)


class Decrypted(bytes):
    """Bytes that came through TLS; the connection may hold an event besides, such as its end."""


class Bypass:
    """The bypass of one server's connection, for as long as that lasts."""

    def __init__(
        self,
        handler: ConnectionHandler,
        writers: list[asyncio.StreamWriter],
        tls_ends: list[TlsEnd | None],
        between: list[Layer],
        forward: Forward,
    ) -> None:
        self._handler = handler
        self._between = between
        self._forward = forward
        self._server, self._client = writers
        self._from_server, self._to_client = tls_ends

    def take(self, data: bytes) -> bytes | None:
        """Send bytes on; return those that are left for the layers, None where none are."""
        for layer in self._between:
            if layer._paused is not None:
                return data
        if self._from_server is not None:
            data, is_all = self._decrypt(self._from_server, data)
            if not is_all:
                return Decrypted(data)
            if not data:
                return None
        outgoing = self._forward(data)
        if outgoing is None:
            return data if self._from_server is None else Decrypted(data)
        if outgoing:
            self._client.write(outgoing if self._to_client is None else _encrypted(self._to_client, outgoing))
        return None

    def _decrypt(self, end: TlsEnd, data: bytes) -> tuple[bytes, bool]:
        """Return the decrypted bytes, and whether the connection goes on."""
        plain, error = end.decrypted(data)
        if reply := end.outgoing():
            self._server.write(reply)
        if error is not None and not isinstance(error, SSL.ZeroReturnError):
            self._handler.log(f"TLS Error: {error}", logging.WARNING)
        return plain, not isinstance(error, SSL.ZeroReturnError)


def find_bypass(handler: ConnectionHandler, context: Context, server: Connection, forward: Forward) -> Bypass | None:
    """Return a bypass to the client of a connection handler; None where a layer between is not known."""
    ends = (server, handler.client)
    between = list(_between(context))
    writers = [writer for end in ends if isinstance(writer := handler.transports[end].writer, asyncio.StreamWriter)]
    tls_ends = [_tls_of(end, between) for end in ends]
    are_usual = all(len(found) <= 1 and all(map(is_known, found)) for found in tls_ends)
    if len(writers) < len(ends) or not are_usual or not all(map(_is_known, between)):
        return None
    return Bypass(handler, writers, [next(map(TlsEnd, found), None) for found in tls_ends], between, forward)


def _between(context: Context) -> Iterator[Layer]:
    """Yield the layers, and the clients' sides of the proxies whose tunnels the other layers are in."""
    *outer, _ = (layer for layer in context.layers if isinstance(layer, layers.HttpLayer))
    yield from context.layers
    yield from (hub.connections[context.client] for hub in outer)


def _is_known(layer: Layer) -> bool:
    if layer.debug is not None:
        return False
    if isinstance(layer, layers.HttpStream):
        return bool(layer._handle_event == layer.passthrough)
    if isinstance(layer, _http1.Http1Server):
        return bool(layer.state == layer.passthrough)
    if isinstance(layer, tls.TLSLayer):
        is_under_way = layer.tunnel_state is tunnel.TunnelState.ESTABLISHING
        return type(layer) in _TLS and layer.conn is layer.tunnel_connection and not is_under_way
    return type(layer) in _HANDING_ON or isinstance(layer, _ENDS)


def _tls_of(end: Connection, between: list[Layer]) -> list[SSL.Connection]:
    return [layer.tls for layer in between if isinstance(layer, tls.TLSLayer) and layer.conn is end]


def _encrypted(end: TlsEnd, data: bytes) -> bytes:
    try:
        return end.encrypted(data)
    except (SSL.ZeroReturnError, SSL.SysCallError):
        return end.outgoing()  # a client that has hung up gets no more
