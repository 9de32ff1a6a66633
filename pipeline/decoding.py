"""Undoes the content codings of a body (RFC 9110, section 8.4.1), chunk by chunk as it came.

Gives the decoded bytes of each chunk; keeps the rest for the next one; a body that can never be valid, or that grows
past the limit, ends with `problem` set and what was decoded until then. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import brotli
import zstandard

# What one body may grow to. A real answer of a million tokens is about 300 MB of event stream.
MAX_DECODED_BYTES = 512 * 1024 * 1024
# zstandard cannot stop at a limit: a block of 4 bytes may hold 128 KiB, so a slice of this grows to 32 MiB at most.
ZSTD_SLICE_BYTES = 1024


class _Decompressor(Protocol):
    def feed(self, data: bytes, limit: int) -> bytes: ...


class _Zlib:
    """gzip or deflate. "deflate" is the zlib format by the RFC, and a bare stream from servers that misread it."""

    def __init__(self, *, window_bits: int, bare_allowed: bool = False) -> None:
        self._inflate = zlib.decompressobj(wbits=window_bits)
        self._bare_allowed = bare_allowed

    def feed(self, data: bytes, limit: int) -> bytes:
        try:
            decoded = self._inflate.decompress(data, limit)
        except zlib.error:
            if not self._bare_allowed:
                raise
            self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
            decoded = self._inflate.decompress(data, limit)
        self._bare_allowed = False
        if self._inflate.eof and self._inflate.unused_data:
            rest, self._inflate = self._inflate.unused_data, zlib.decompressobj(wbits=31)
            decoded += self.feed(rest, limit) if rest.startswith(b"\x1f\x8b") else b""
        return decoded


class _Brotli:
    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def feed(self, data: bytes, limit: int) -> bytes:
        return bytes(self._decompressor.process(data, output_buffer_limit=limit))


class _Zstandard:
    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)

    def feed(self, data: bytes, limit: int) -> bytes:
        decoded = bytearray()
        for start in range(0, len(data), ZSTD_SLICE_BYTES):
            decoded += self._decompressor.decompress(data[start : start + ZSTD_SLICE_BYTES])
            if len(decoded) >= limit:
                break
        return bytes(decoded)


_CODINGS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": lambda: _Zlib(window_bits=31),
    "x-gzip": lambda: _Zlib(window_bits=31),
    "deflate": lambda: _Zlib(window_bits=zlib.MAX_WBITS, bare_allowed=True),
    "br": _Brotli,
    "zstd": _Zstandard,
}


class ContentDecoder:
    """Decodes one body, given its `Content-Encoding`."""

    def __init__(self, content_encoding: str = "", *, limit: int = MAX_DECODED_BYTES) -> None:
        self.problem: str | None = None
        self._room = limit
        self._stages: list[_Decompressor] = []
        names = [name.strip().lower() for name in content_encoding.split(",")]
        for name in reversed([name for name in names if name not in ("", "identity")]):
            if name not in _CODINGS:
                self.problem = f"unknown content coding {name!r}"
                return
            self._stages.append(_CODINGS[name]())

    def feed(self, data: bytes) -> bytes:
        """The bytes that this chunk decodes to, possibly none yet; none at all once there is a `problem`."""
        if self.problem is not None:
            return b""
        try:
            for stage in self._stages:
                data = stage.feed(data, self._room + 1)
        except (zlib.error, brotli.error, zstandard.ZstdError) as error:
            self.problem = f"content coding is broken: {error}"
            return b""
        if len(data) > self._room:
            self.problem = "decoded body is over the limit"
            data = data[: self._room]
        self._room -= len(data)
        return data
