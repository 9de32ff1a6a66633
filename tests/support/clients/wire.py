"""Plain HTTP clients that reach a server through a recorder, over one of two roads: `plain` and `tls`.

They read and write the bytes on the wire, which an SDK would hide.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.processes.recorder import RunningRecorder
from tests.support.servers.authority import server_context
from tests.support.servers.scripted import NO_LINGER, WAIT_SECONDS, Script, ScriptedServer

PATH = "/v1/chat/completions"
KEY = "Bearer sk-test"
ROADS = ("plain", "tls")


@dataclass(frozen=True)
class Road:
    """A recorder in front of a scripted server."""

    recorder: RunningRecorder
    server: ScriptedServer
    tls: bool

    def connect(self) -> HTTPConnection:
        """Return a connection that leads to the server; it is opened when it is first used."""
        if self.tls:
            return tunnel(self.recorder, self.server.port)
        address = urlsplit(self.recorder.address)
        return HTTPConnection(str(address.hostname), address.port, timeout=WAIT_SECONDS)

    def open(self) -> socket.socket:
        """Return such a connection as a socket, for bytes that no library would send."""
        if self.tls:
            tunnelled = tunnel_socket(self.recorder, self.server.port)
            return client_tls(self.recorder).wrap_socket(tunnelled, server_hostname="localhost")
        return self.recorder.connect()


@contextmanager
def open_road(kind: str, data: Path, script: Script, authority: Path, *more: str) -> Iterator[Road]:
    """Open a road: `plain` is a reverse proxy to a server without TLS, `tls` a forward proxy with TLS on both sides.

    `more` are further options of the recorder.
    """
    tls = kind == "tls"
    with ScriptedServer(script, server_context(authority) if tls else None) as server:
        options = trusting(authority) if tls else ("--upstream", server.url)
        with RunningRecorder(data, *options, *more) as recorder:
            yield Road(recorder, server, tls)


def trusting(authority: Path) -> tuple[str, str]:
    """Return options that let a recorder trust the servers in tests."""
    return ("--set", f"ssl_verify_upstream_trusted_ca={authority / 'ca.pem'}")


def client_tls(recorder: RunningRecorder) -> ssl.SSLContext:
    """Return the TLS context of a client that trusts only the recorder."""
    return ssl.create_default_context(cafile=str(recorder.certificate))


def tunnel(recorder: RunningRecorder, port: int, host: str = "localhost") -> HTTPSConnection:
    """Return a connection to an HTTPS server through the recorder as a forward proxy."""
    proxy = urlsplit(recorder.address)
    connection = HTTPSConnection(str(proxy.hostname), proxy.port, timeout=WAIT_SECONDS, context=client_tls(recorder))
    connection.set_tunnel(host, port)
    return connection


def tunnel_socket(recorder: RunningRecorder, port: int, host: str = "localhost") -> socket.socket:
    """Return such a connection before TLS begins, for protocols that http.client does not know."""
    connection = recorder.connect()
    connection.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert b" 200 " in head.partition(b"\r\n")[0], head
    return connection


def break_off(connection: socket.socket) -> None:
    """Reset a connection, as a killed process does: the other side gets an error, not an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    os.close(connection.detach())


def read_all(connection: socket.socket) -> bytes:
    """Read all bytes until the other side closes."""
    read = b""
    while data := connection.recv(65_536):
        read += data
    return read


def read_exactly(connection: socket.socket, expected: bytes) -> None:
    """Read as many bytes as expected, and check that they are the expected ones."""
    read = b""
    while len(read) < len(expected) and (data := connection.recv(len(expected) - len(read))):
        read += data
    assert read == expected


def chat(model: str = "gpt-4o-mini", *, stream: bool = False, text: str = "Hello?") -> bytes:
    """Return the body of a chat request."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}).encode()


def ask(connection: HTTPConnection, body: bytes, **headers: str) -> tuple[int, bytes]:
    """Post a chat request, and return the status and the body of the response."""
    connection.request("POST", PATH, body, {"Content-Type": "application/json", "Authorization": KEY} | headers)
    response = connection.getresponse()
    return response.status, response.read()


def event(text: str) -> bytes:
    """Return an event of a chat stream with a piece of text."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(chunk).encode()


FINISH = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)
DONE = b"data: [DONE]\n\n"
