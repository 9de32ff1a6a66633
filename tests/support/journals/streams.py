"""The response bodies of `tests/data/streams`, each a file named for its quirk, and what must be read from them.

Beside each `.sse` file, the raw bytes of a body, lies a `.json` file with the expected values. Its completion is the
one that the provider would have sent without streaming; `lossless` means that nothing was guessed and nothing left out.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import brotli
import simplejson
import zstandard

from tapeline.pipeline.apis.base import Chunk, ParsedResponse
from tapeline.pipeline.apis.body_reader import read_response
from tapeline.pipeline.apis.chat_completions.api import ChatCompletions
from tapeline.pipeline.wire.json_text import NOT_JSON, loads
from tests.support.places import DATA

CHAT = ChatCompletions()
STREAMS = sorted((DATA / "streams").glob("*.sse"))
#: Content codings, two that are applied one after the other, and one that nobody can undo.
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "br, gzip": lambda body: gzip.compress(brotli.compress(body)),
    "compress": bytes,
}


def exact(value: Any) -> str:
    """Return a value as text that shows every digit, whatever the order of keys."""
    return str(simplejson.dumps(value, use_decimal=True, sort_keys=True, indent=1))


def without_times(response: ParsedResponse) -> str:
    """Return everything that must not depend on how a body is cut, as text."""
    values = {name: value for name, value in vars(response).items() if name not in ("times", "event_offsets_us")}
    return exact(values)


def expected(path: Path) -> dict[str, Any]:
    """Return what must be read from the body in this file."""
    values = loads(path.with_suffix(".json").read_bytes())
    assert values is not NOT_JSON, path
    return {"content_type": "text/event-stream", "content_encoding": "", "text": None, **values}


def read(chunks: Iterable[Chunk], path: Path, content_encoding: str = "") -> ParsedResponse:
    """Read these chunks with the headers that belong to the file."""
    values = expected(path)
    encoding = content_encoding or values["content_encoding"]
    return read_response(CHAT, chunks, content_type=values["content_type"], content_encoding=encoding)


def one_chunk(body: bytes) -> list[Chunk]:
    return [(1, body)]


def byte_by_byte(body: bytes) -> list[Chunk]:
    return [(at_us, body[at_us : at_us + 1]) for at_us in range(len(body))]
