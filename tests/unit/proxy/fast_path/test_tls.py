"""That both ends of TLS do what pyOpenSSL would have done, to the byte and to the error."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from OpenSSL import SSL

from tapeline.pipeline.proxy.fast_path import tls
from tapeline.pipeline.proxy.fast_path.tls import TlsEnd, is_known

VERSIONS = [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]
SIZES = [1, 250, 16_383, 16_384, 16_385, 100_000]


def drain(connection: SSL.Connection) -> bytes:
    """All that a connection has to send."""
    return all_of(connection.bio_read)


def read(connection: SSL.Connection) -> bytes:
    """All that a connection has received."""
    return all_of(connection.recv)


def all_of(next_piece: Callable[[int], bytes]) -> bytes:
    data = b""
    try:
        while True:
            data += next_piece(65_535)
    except SSL.WantReadError:
        return data


@pytest.fixture(params=VERSIONS)
def ends(request: pytest.FixtureRequest, authority: Path) -> tuple[SSL.Connection, SSL.Connection]:
    """A server and a client that have shaken hands."""
    contexts = SSL.Context(SSL.TLS_SERVER_METHOD), SSL.Context(SSL.TLS_CLIENT_METHOD)
    contexts[0].use_certificate_file(str(authority / "server.pem"))
    contexts[0].use_privatekey_file(str(authority / "server.key"))
    for context in contexts:
        context.set_min_proto_version(request.param)
        context.set_max_proto_version(request.param)
    server, client = (SSL.Connection(context, None) for context in contexts)
    server.set_accept_state()
    client.set_connect_state()
    for sender, receiver in ((client, server), (server, client)) * 3:
        with suppress(SSL.WantReadError):
            sender.do_handshake()
        if data := drain(sender):
            receiver.bio_write(data)
    return server, client


@pytest.mark.parametrize("size", SIZES)
def test_what_is_encrypted_comes_out_again(ends: tuple[SSL.Connection, SSL.Connection], size: int) -> None:
    server, client = ends
    data = bytes(number % 251 for number in range(size))
    client.bio_write(TlsEnd(server).encrypted(data))
    assert read(client) == data
    server.sendall(data)
    assert TlsEnd(client).decrypted(drain(server)) == (data, None)
    assert drain(server) == drain(client) == b""


@pytest.mark.parametrize("cut", [1, 5, 20, 100, -1])
def test_what_is_cut_comes_with_the_rest(ends: tuple[SSL.Connection, SSL.Connection], cut: int) -> None:
    server, client = ends
    end = TlsEnd(client)
    for data in (b"first" * 20, b"second" * 20, b"third" * 20):
        server.sendall(data)
    whole = drain(server)
    given = [end.decrypted(whole[:cut]), end.decrypted(whole[cut:])]
    assert b"".join(plain for plain, _ in given) == b"first" * 20 + b"second" * 20 + b"third" * 20
    assert [error for _, error in given] == [None, None]


def test_the_end_is_told_with_what_came_before_it(ends: tuple[SSL.Connection, SSL.Connection]) -> None:
    server, client = ends
    server.sendall(b"the last")
    server.shutdown()
    plain, error = TlsEnd(client).decrypted(drain(server))
    assert plain == b"the last"
    assert isinstance(error, SSL.ZeroReturnError)


def test_what_is_no_tls_is_an_error_and_answered(ends: tuple[SSL.Connection, SSL.Connection]) -> None:
    server, client = ends
    server.sendall(b"the last")
    end = TlsEnd(client)
    plain, error = end.decrypted(drain(server) + b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert plain == b"the last"
    assert "decryption failed or bad record mac" in str(error)
    server.bio_write(end.outgoing())
    with pytest.raises(SSL.Error, match="bad record mac"):
        read(server)


def test_insides_that_are_not_there_are_not_reached_into(
    ends: tuple[SSL.Connection, SSL.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_known(ends[0])
    assert not is_known(None)
    monkeypatch.setattr(tls, "_OF_CONNECTIONS", {"_ssl", "_renamed"})
    assert not is_known(ends[0])
