"""Content codings are undone chunk by chunk, wherever they are cut, whole or broken, and never past the limit."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterable

import brotli
import pytest
import zstandard

from tapeline.pipeline.wire import content_coding
from tapeline.pipeline.wire.content_coding import (
    MAX_CODINGS,
    MAX_DECODED_BYTES,
    MAX_WHOLE_BYTES,
    MAX_WHOLE_GROWTH,
    PIECE_BYTES,
    ContentDecoder,
    whole_limit,
)

TEXT = "".join(f"data: {{n: {number}}}\n\n" for number in random.Random(7).sample(range(10_000), 400)).encode()


def bare_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


Encode = Callable[[bytes], bytes]
CODINGS: list[tuple[str, Encode]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare_deflate),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
]
each_coding = pytest.mark.parametrize(("coding", "encode"), CODINGS, ids=[encode.__name__ for _, encode in CODINGS])


def decode(chunks: Iterable[bytes], coding: str, limit: int = 1_000_000) -> tuple[bytes, str | None]:
    decoder = ContentDecoder(coding, limit=limit)
    return b"".join([fed(decoder, chunk) for chunk in chunks]), decoder.problem


def fed(decoder: ContentDecoder, chunk: bytes) -> bytes:
    """Return everything that a chunk decodes to."""
    return b"".join(decoder.feed(chunk))


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


@each_coding
@pytest.mark.parametrize("size", [1, 2, 3, 1000, 1024, 1025, 1_000_000])
def test_a_body_in_pieces_of_any_size(coding: str, encode: Encode, size: int) -> None:
    assert decode(pieces(encode(TEXT), size), coding) == (TEXT, None)


@each_coding
def test_empty_body_and_empty_chunks(coding: str, encode: Encode) -> None:
    assert decode(pieces(encode(b""), 1), coding) == (b"", None)
    assert decode([b"", *pieces(encode(b"x"), 1), b""], coding) == (b"x", None)
    assert decode([], coding) == (b"", None)


class Gzip:
    def __init__(self) -> None:
        self._compressor = zlib.compressobj(wbits=31)

    def chunk(self, data: bytes) -> bytes:
        return self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


class Brotli:
    def __init__(self) -> None:
        self._compressor = brotli.Compressor()

    def chunk(self, data: bytes) -> bytes:
        return bytes(self._compressor.process(data) + self._compressor.flush())


class Zstandard:
    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor().compressobj()

    def chunk(self, data: bytes) -> bytes:
        return self._compressor.compress(data) + self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


@pytest.mark.parametrize(("coding", "flushing"), [("gzip", Gzip), ("br", Brotli), ("zstd", Zstandard)])
def test_a_flushed_chunk_is_decoded_at_once(coding: str, flushing: type[Gzip] | type[Brotli] | type[Zstandard]) -> None:
    compressor, decoder = flushing(), ContentDecoder(coding)
    for word in (b"one ", b"two ", b"three"):
        assert fed(decoder, compressor.chunk(word)) == word
    # Servers that only flush never send the end of the coding.
    assert decoder.problem is None


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_members_of_gzip_one_after_another(size: int) -> None:
    members = [b"", b"a", TEXT, *[b"b"] * 2000]
    assert decode(pieces(b"".join(map(gzip.compress, members)), size), "gzip") == (b"".join(members), None)


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_frames_of_zstd_one_after_another(size: int) -> None:
    assert decode(pieces(zstandard.compress(b"a") + zstandard.compress(TEXT), size), "zstd") == (b"a" + TEXT, None)


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_two_codings(size: int) -> None:
    body = zstandard.compress(brotli.compress(gzip.compress(TEXT)))
    assert decode(pieces(body, size), "gzip, br,identity,  ZSTD") == (TEXT, None)


@pytest.mark.parametrize("coding", ["", "identity", " , Identity"])
def test_no_coding(coding: str) -> None:
    assert decode(pieces(TEXT, 5), coding) == (TEXT, None)


def test_an_unknown_coding_is_named() -> None:
    assert decode([TEXT], "gzip, Compress") == (b"", "unknown content coding 'compress'")


def test_a_header_with_many_codings_is_refused() -> None:
    assert decode([TEXT], ",".join(["gzip"] * MAX_CODINGS))[1] != "5 content codings upon each other"
    assert decode([TEXT], ",".join(["gzip"] * (MAX_CODINGS + 1))) == (b"", "5 content codings upon each other")


@each_coding
def test_bytes_after_the_end_are_a_problem(coding: str, encode: Encode) -> None:
    body = encode(TEXT)
    for chunks in ([body + b"more"], [body, b"more"], pieces(body + b"more", 1)):
        decoded, problem = decode(chunks, coding)
        assert decoded == TEXT
        assert problem is not None
        assert problem.startswith("content coding is broken: ")


@each_coding
def test_a_broken_body_decodes_to_the_same_wherever_it_is_cut(coding: str, encode: Encode) -> None:
    body = encode(TEXT)
    for position in range(0, len(body), 37):
        broken = body[:position] + bytes([body[position] ^ 0x55]) + body[position + 1 :]
        whole = decode([broken], coding)
        assert decode(pieces(broken, 1), coding) == whole
        assert decode(pieces(broken, 100), coding) == whole


@each_coding
def test_a_body_that_is_not_coded_is_a_problem(coding: str, encode: Encode) -> None:
    decoded, problem = decode([b"<html>Bad Gateway</html>"], coding)
    assert decoded == b""
    assert problem is not None
    assert decode(pieces(b"<html>Bad Gateway</html>", 1), coding) == (decoded, problem)


@each_coding
def test_a_body_that_is_cut_off_decodes_to_its_beginning(coding: str, encode: Encode) -> None:
    decoded, problem = decode(pieces(encode(TEXT)[:-20], 9), coding)
    assert problem is None
    assert TEXT.startswith(decoded)


@each_coding
@pytest.mark.parametrize("size", [1, 50, 1_000_000])
def test_the_limit_is_exact(coding: str, encode: Encode, size: int) -> None:
    body = pieces(encode(TEXT), size)
    assert decode(body, coding, limit=len(TEXT)) == (TEXT, None)
    assert decode(body, coding, limit=len(TEXT) - 1) == (TEXT[:-1], "decoded body is over the limit")
    assert decode(body, coding, limit=10) == (TEXT[:10], "decoded body is over the limit")


def test_the_limit_without_a_coding() -> None:
    for size in (1, 1_000_000):
        assert decode(pieces(TEXT, size), "", limit=10) == (TEXT[:10], "decoded body is over the limit")


@pytest.mark.slow
@each_coding
@pytest.mark.parametrize("size", [1, 1_000_000])
def test_a_bomb_stops_at_the_limit(coding: str, encode: Encode, size: int) -> None:
    bomb = pieces(encode(b"\0" * 50_000_000), size)
    tracemalloc.start()
    try:
        decoded, problem = decode(bomb, coding, limit=1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(decoded), problem) == (1_000_000, "decoded body is over the limit")
    # What one slice of zstd may decode to, and as much again for its copies.
    assert peak < 100_000_000


@pytest.mark.slow
@each_coding
def test_a_small_chunk_is_decoded_in_pieces(coding: str, encode: Encode) -> None:
    sizes = [len(piece) for piece in ContentDecoder(coding).feed(encode(b"\0" * 50_000_000))]
    assert sum(sizes) == 50_000_000
    # brotli may return a little more than its limit.
    assert max(sizes) <= 2 * PIECE_BYTES


def test_the_limit_of_a_body_held_whole_grows_with_its_size() -> None:
    assert whole_limit(0) == whole_limit(1000) == MAX_WHOLE_BYTES
    sent = MAX_WHOLE_BYTES // 2
    assert whole_limit(sent) == sent * MAX_WHOLE_GROWTH > MAX_WHOLE_BYTES
    assert whole_limit(MAX_DECODED_BYTES) == MAX_DECODED_BYTES
    assert whole_limit(1000, limit=10) == 10


def test_a_bomb_within_a_coding_stops_at_the_limit() -> None:
    bomb = gzip.compress(gzip.compress(gzip.compress(b"\0" * 50_000_000)))
    for size in (1, 1_000_000):
        decoded, problem = decode(pieces(bomb, size), "gzip, gzip, gzip", limit=1_000_000)
        assert (len(decoded), problem) == (1_000_000, "decoded body is over the limit")


def test_the_first_of_two_problems_is_reported() -> None:
    body = gzip.compress(b"no brotli")[:-8] + b"no sum.."
    assert decode([body], "br, gzip") == decode(pieces(body, 1), "br, gzip")


def test_nothing_is_decoded_after_a_problem() -> None:
    decoder = ContentDecoder("gzip")
    assert fed(decoder, b"no") == b""
    problem = decoder.problem
    assert problem is not None
    assert fed(decoder, gzip.compress(TEXT)) == b""
    assert decoder.problem == problem


def test_a_slice_decodes_to_a_limited_size() -> None:
    # A block of four bytes may decode to 128 KiB (RFC 8878, section 3.1.1.2.3).
    assert content_coding.SLICE_BYTES // 4 * 128 * 1024 <= 32 * 1024 * 1024
    # Two bits of deflate decode to 258 bytes (RFC 1951, section 3.2.5); an error within a piece loses the piece.
    assert content_coding.SLICE_BYTES * 4 * 258 <= content_coding.PIECE_BYTES
