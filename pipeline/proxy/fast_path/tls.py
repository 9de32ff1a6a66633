"""One end of a TLS connection whose bytes mitmproxy moves itself: what OpenSSL is asked for each piece that streams.

pyOpenSSL makes a buffer for every call, and tells that there is nothing more by an exception, which cost more than the
ciphers do. What it knows of errors stays its own.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

_SSL: Any = SSL
# A record of TLS holds no more.
PIECE_BYTES = 16_384
_OF_PYOPENSSL = {"_lib", "_ffi"}
_OF_CONNECTIONS = {"_ssl", "_into_ssl", "_from_ssl"}
_OF_OPENSSL = {"BIO_read", "BIO_write", "SSL_read", "SSL_write", "SSL_get_error", "SSL_ERROR_WANT_READ"}


def is_known(connection: SSL.Connection | None) -> bool:
    """Whether a connection is there, and has the insides that are reached into here."""
    return (
        connection is not None
        and vars(_SSL).keys() >= _OF_PYOPENSSL
        and vars(connection).keys() >= _OF_CONNECTIONS
        and all(hasattr(_SSL._lib, name) for name in _OF_OPENSSL)
    )


class TlsEnd:
    """Of a connection whose handshake is done."""

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection: Any = connection
        self._openssl: Any = _SSL._lib
        self._buffer = _SSL._ffi.new("char[]", PIECE_BYTES)
        self._view = _SSL._ffi.buffer(self._buffer)

    def decrypted(self, data: bytes) -> tuple[bytes, SSL.Error | None]:
        """What is decrypted with these bytes, and what ended it, if it was not that more bytes are needed."""
        connection, openssl = self._connection, self._openssl
        openssl.BIO_write(connection._into_ssl, data, len(data))
        pieces = []
        while (size := openssl.SSL_read(connection._ssl, self._buffer, PIECE_BYTES)) > 0:
            pieces.append(self._view[:size])
        plain = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if openssl.SSL_get_error(connection._ssl, size) == openssl.SSL_ERROR_WANT_READ:
            return plain, None
        try:
            connection._raise_ssl_error(connection._ssl, size)
        except SSL.Error as error:
            return plain, error
        return plain, None

    def encrypted(self, data: bytes) -> bytes:
        """What is to be sent for these bytes, and whatever else there is to be sent."""
        connection = self._connection
        while data and (size := self._openssl.SSL_write(connection._ssl, data, len(data))) != len(data):
            connection._raise_ssl_error(connection._ssl, size)
            data = data[size:]
        return self.outgoing()

    def outgoing(self) -> bytes:
        """What OpenSSL has to be sent: a reply of its own, if nothing was encrypted."""
        data = b""
        size = PIECE_BYTES
        while size == PIECE_BYTES:
            size = self._openssl.BIO_read(self._connection._from_ssl, self._buffer, PIECE_BYTES)
            if size > 0:
                data += self._view[:size]
        return data
