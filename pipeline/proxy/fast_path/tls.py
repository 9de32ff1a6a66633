"""One end of a TLS connection whose bytes mitmproxy moves itself, with OpenSSL called directly.

pyOpenSSL makes a buffer for every call and an exception for every end of data; both cost more than the ciphers do.
Errors are still left to pyOpenSSL.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

from ..releases import FAST_TLS

_SSL: Any = SSL
# A record of TLS holds no more.
PIECE_BYTES = 16_384
_OF_PYOPENSSL = {"_lib", "_ffi"}
_OF_CONNECTIONS = {"_ssl", "_into_ssl", "_from_ssl"}
_OF_OPENSSL = {"BIO_read", "BIO_write", "SSL_read", "SSL_write", "SSL_get_error", "SSL_ERROR_WANT_READ"}


def is_known(connection: SSL.Connection | None) -> bool:
    """Whether the connection has the insides used here, in a release that was tested."""
    return (
        connection is not None
        and not FAST_TLS.untested()
        and vars(_SSL).keys() >= _OF_PYOPENSSL
        and vars(connection).keys() >= _OF_CONNECTIONS
        and all(hasattr(_SSL._lib, name) for name in _OF_OPENSSL)
    )


class TlsEnd:
    """The proxy's end of a TLS connection whose handshake is done."""

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection: Any = connection
        self._openssl: Any = _SSL._lib
        self._buffer = _SSL._ffi.new("char[]", PIECE_BYTES)
        self._view = _SSL._ffi.buffer(self._buffer)

    def decrypted(self, data: bytes) -> tuple[bytes, SSL.Error | None]:
        """Return the bytes decrypted, and the error that ended them; None where only more bytes are needed."""
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
        """Encrypt bytes; return them with whatever else OpenSSL has to send."""
        connection = self._connection
        while data and (size := self._openssl.SSL_write(connection._ssl, data, len(data))) != len(data):
            connection._raise_ssl_error(connection._ssl, size)
            data = data[size:]
        return self.outgoing()

    def outgoing(self) -> bytes:
        """Return the bytes that OpenSSL has to send: messages of its own where nothing was encrypted."""
        data = b""
        size = PIECE_BYTES
        while size == PIECE_BYTES:
            size = self._openssl.BIO_read(self._connection._from_ssl, self._buffer, PIECE_BYTES)
            if size > 0:
                data += self._view[:size]
        return data
