"""Undoes the content codings of a body (RFC 9110, section 8.4.1), chunk by chunk.

`feed` yields the decoded bytes of a chunk in pieces, because a kilobyte may decode to a gigabyte; bytes that do not
decode yet are kept for the next chunk. A body that is broken or grows over the limit ends with `problem` set. The bytes
decoded until then do not depend on how the body was cut into chunks.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli
import zstandard

# The limit of a decoded body. A real response of a million tokens is about 300 MB of event stream.
MAX_DECODED_BYTES = 512 * 1024 * 1024
# The limit of a decoded body that has to be held in memory whole, unless it was large before. An event stream, which is
# read event by event, may shrink to a thousandth if its events are alike. JSON shrinks to a tenth, and only short JSON
# to less.
MAX_WHOLE_BYTES = 32 * 1024 * 1024
MAX_WHOLE_GROWTH = 20
OVER_LIMIT = "decoded body is over the limit"
# The size of a decoded piece; for brotli only a hint.
PIECE_BYTES = 2 * 1024 * 1024
# The number of bytes decoded at a time. zstandard cannot stop at a limit, and a block of 4 bytes may decode to 128 KiB,
# so these may decode to 32 MiB; zlib stops after a piece.
SLICE_BYTES = 1024
# Servers apply one coding and proxies perhaps a second. A header can name thousands, each with a window in memory.
MAX_CODINGS = 4

_ERRORS = (zlib.error, brotli.error, zstandard.ZstdError)
_GZIP = 16 + zlib.MAX_WBITS


class _Decompressor(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]: ...


class _Gzip:
    """Decodes gzip: members one after the other (RFC 1952, section 2.2)."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=_GZIP)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(wbits=_GZIP)
            yield from _until_empty(self._inflate.decompress(data, PIECE_BYTES), self._more)
            data = self._inflate.unused_data

    def _more(self) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail, PIECE_BYTES)


class _Deflate:
    """Decodes deflate: zlib's format, as the RFC requires, or a bare stream, as some servers send it.

    The first two bytes show which it is.
    """

    def __init__(self) -> None:
        self._head = b""
        self._inflate = zlib.decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        if len(self._head) < 2:
            self._head += data
            if len(self._head) < 2:
                return
            data = self._head
            is_zlib = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
            self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        yield from _until_empty(self._inflate.decompress(data, PIECE_BYTES), self._more)
        if self._inflate.unused_data:
            raise zlib.error("bytes after the end")

    def _more(self) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail, PIECE_BYTES)


class _Brotli:
    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield from _until_empty(self._process(data), lambda: self._process(b""))

    def _process(self, data: bytes) -> bytes:
        return bytes(self._decompressor.process(data, output_buffer_limit=PIECE_BYTES))


class _Zstandard:
    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield from _slices(self._decompressor.decompress(data), PIECE_BYTES)


_CODINGS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstandard,
}


class _Plain:
    """Passes on a body without a coding, up to its limit."""

    def __init__(self, limit: int) -> None:
        self.problem: str | None = None
        self._room = limit

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes decode to, until there is a `problem`."""
        yield self._within_limit(data)

    def _within_limit(self, decoded: bytes) -> bytes:
        if len(decoded) > self._room:
            self.problem = OVER_LIMIT
            decoded = decoded[: self._room]
        self._room -= len(decoded)
        return decoded


class _Coded(_Plain):
    """Undoes one coding of a body, up to its limit."""

    def __init__(self, make: Callable[[], _Decompressor], limit: int) -> None:
        super().__init__(limit)
        self._make = make
        self._decompressor = make()
        self._decoded_input = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        for coded in _slices(data, SLICE_BYTES):
            yielded = 0
            try:
                for piece in self._decompressor.feed(coded):
                    yielded += len(piece)
                    yield self._within_limit(piece)
                    if self.problem is not None:
                        return
            except _ERRORS:
                yield from self._decode_bytewise(coded, yielded)
            self._decoded_input += coded
            if self.problem is not None:
                return

    def _decode_bytewise(self, coded: bytes, yielded: int) -> Iterator[bytes]:
        """Yield what bytes with an error decode to before the error; a library drops that when its call fails.

        The first `yielded` bytes have been yielded already.
        """
        self._decompressor = self._make()
        for earlier in _slices(bytes(self._decoded_input), SLICE_BYTES):
            for _ in self._decompressor.feed(earlier):
                pass
        for byte in _slices(coded, 1):
            try:
                for piece in self._decompressor.feed(byte):
                    known = min(yielded, len(piece))
                    yielded -= known
                    yield self._within_limit(piece[known:])
                    if self.problem is not None:
                        return
            except _ERRORS as error:
                self.problem = f"content coding is broken: {error}"
                return


class ContentDecoder:
    """Decodes one body by its `Content-Encoding`."""

    def __init__(self, content_encoding: str = "", *, limit: int = MAX_DECODED_BYTES) -> None:
        self.problem: str | None = None
        self._stages: list[_Plain] = []
        names = [name.strip().lower() for name in content_encoding.split(",")]
        names = [name for name in names if name not in ("", "identity")]
        if unknown := [name for name in names if name not in _CODINGS]:
            self.problem = f"unknown content coding {unknown[-1]!r}"
        elif len(names) > MAX_CODINGS:
            self.problem = f"{len(names)} content codings upon each other"
        else:
            self._stages = [_Coded(_CODINGS[name], limit) for name in reversed(names)] or [_Plain(limit)]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the bytes that this chunk decodes to; none once there is a `problem`.

        Read all of them before the next call.
        """
        if self.problem is None:
            yield from self._through(self._stages, data)

    def _through(self, stages: list[_Plain], data: bytes) -> Iterator[bytes]:
        stage, *later = stages
        for piece in stage.feed(data):
            if later:
                yield from self._through(later, piece)
            else:
                yield piece
            # A later stage fails at bytes that come before those at which an earlier one failed.
            if self.problem is not None:
                return
        self.problem = stage.problem


def whole_limit(sent: int, limit: int = MAX_DECODED_BYTES) -> int:
    """Return the limit of a decoded body that has to be held in memory whole, by the number of bytes it was sent in."""
    return min(limit, max(MAX_WHOLE_BYTES, MAX_WHOLE_GROWTH * sent))


def _until_empty(piece: bytes, more: Callable[[], bytes]) -> Iterator[bytes]:
    while piece:
        yield piece
        piece = more()


def _slices(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))
