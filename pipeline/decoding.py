"""Undoes the content codings of a body (RFC 9110, section 8.4.1), chunk by chunk as it came.

Gives the decoded bytes of each chunk; keeps the rest for the next one; a body that can never be valid, or that grows
past the limit, ends with `problem` set and what was decoded until then, however the body was cut into chunks. Knows
nothing of what the bytes mean.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

import brotli
import zstandard

# What one body may grow to. A real answer of a million tokens is about 300 MB of event stream.
MAX_DECODED_BYTES = 512 * 1024 * 1024
# zstandard cannot stop at a limit: a block of 4 bytes may hold 128 KiB, so a slice of this grows to 32 MiB at most.
SLICE_BYTES = 1024
# Servers apply one, proxies perhaps a second; a header can name thousands, and each takes its window of memory.
MAX_CODINGS = 4

_ERRORS = (zlib.error, brotli.error, zstandard.ZstdError)
_GZIP = 16 + zlib.MAX_WBITS


class _Decompressor(Protocol):
    def feed(self, data: bytes, limit: int) -> bytes: ...


class _Gzip:
    """Members one after another (RFC 1952, section 2.2)."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=_GZIP)

    def feed(self, data: bytes, limit: int) -> bytes:
        decoded = bytearray()
        while data and len(decoded) < limit:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(wbits=_GZIP)
            decoded += self._inflate.decompress(data, limit - len(decoded))
            data = self._inflate.unused_data
        return bytes(decoded)


class _Deflate:
    """The zlib format by the RFC, and a bare stream from servers that misread it; the first two bytes tell."""

    def __init__(self) -> None:
        self._head = b""
        self._inflate = zlib.decompressobj()

    def feed(self, data: bytes, limit: int) -> bytes:
        if len(self._head) < 2:
            self._head += data
            if len(self._head) < 2:
                return b""
            data = self._head
            is_zlib = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
            self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        decoded = self._inflate.decompress(data, limit)
        if self._inflate.unused_data:
            raise zlib.error("bytes after the end")
        return decoded


class _Brotli:
    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def feed(self, data: bytes, limit: int) -> bytes:
        return bytes(self._decompressor.process(data, output_buffer_limit=limit))


class _Zstandard:
    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)

    def feed(self, data: bytes, _limit: int) -> bytes:
        return self._decompressor.decompress(data)


_CODINGS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstandard,
}


class _Plain:
    """A body without a coding, within its limit."""

    def __init__(self, limit: int) -> None:
        self.problem: str | None = None
        self._room = limit

    def feed(self, data: bytes) -> bytes:
        """What these bytes decode to, until there is a `problem`."""
        return self._within_limit(data)

    def _within_limit(self, decoded: bytes) -> bytes:
        if len(decoded) > self._room:
            self.problem = "decoded body is over the limit"
            decoded = decoded[: self._room]
        self._room -= len(decoded)
        return decoded


class _Coded(_Plain):
    """One coding of a body, within its limit."""

    def __init__(self, make: Callable[[], _Decompressor], limit: int) -> None:
        super().__init__(limit)
        self._make = make
        self._decompressor = make()
        self._taken = bytearray()

    def feed(self, data: bytes) -> bytes:
        decoded = bytearray()
        for piece in _slices(data):
            if self.problem is not None:
                break
            decoded += self._within_limit(self._take(piece))
        return bytes(decoded)

    def _take(self, piece: bytes) -> bytes:
        try:
            decoded = self._decompressor.feed(piece, self._room + 1)
        except _ERRORS:
            decoded = self._take_bytewise(piece)
        self._taken += piece
        return decoded

    def _take_bytewise(self, piece: bytes) -> bytes:
        """What a piece with an error decodes to before it: the libraries throw that away with the call that fails."""
        self._decompressor = self._make()
        for earlier in _slices(bytes(self._taken)):
            self._decompressor.feed(earlier, sys.maxsize)
        decoded = bytearray()
        for position in range(len(piece)):
            try:
                decoded += self._decompressor.feed(piece[position : position + 1], self._room + 1 - len(decoded))
            except _ERRORS as error:
                self.problem = f"content coding is broken: {error}"
                break
            if len(decoded) > self._room:
                break
        return bytes(decoded)


class ContentDecoder:
    """Decodes one body, given its `Content-Encoding`."""

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

    def feed(self, data: bytes) -> bytes:
        """The bytes that this chunk decodes to, possibly none yet; none at all once there is a `problem`."""
        if self.problem is not None:
            return b""
        for stage in self._stages:
            data = stage.feed(data)
            # What a later stage meets lies before what an earlier one met.
            self.problem = stage.problem or self.problem
        return data


def _slices(data: bytes) -> list[bytes]:
    return [data[start : start + SLICE_BYTES] for start in range(0, len(data), SLICE_BYTES)]
