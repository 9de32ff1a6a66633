"""Compares what an SDK made of a response with what Tapeline made of it; `sdk_deviations.toml` lists the differences.

A difference is a line with the value that the SDK has: `choices[0].message.role: "assistantassistant"`. Null and a
missing value count as equal, because SDKs fill in null for fields that they know.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tapeline.pipeline.demo import JsonObject
from tests.support.places import DATA

TABLE = DATA / "sdk_deviations.toml"
CLIENTS = ("python", "node")
UNEXPLAINED = "unexplained"
# Fields that the SDKs add beside a text that they parsed.
SDK_FIELDS = ("parsed", "parsed_arguments")
PASSES = "passes for whole"
NOTHING = "nothing"
MOST_CHARACTERS = 100
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Streams = dict[str, list[str]]


@dataclass
class Kind:
    """A kind of deviation: what the SDK does, what Tapeline does and why, and the differences with their streams."""

    what: str = ""
    ours: str = ""
    source: str = ""
    differences: dict[str, Streams] = field(default_factory=lambda: {client: {} for client in CLIENTS})

    def streams(self, client: str) -> set[str]:
        return {stream for streams in self.differences[client].values() for stream in streams}


@cache
def read_kinds() -> dict[str, Kind]:
    """Read the kinds by name, in the order of the file."""
    return {
        name: Kind(row["what"], row["ours"], row["source"], {client: row.get(client, {}) for client in CLIENTS})
        for name, row in _read()["kinds"].items()
    }


def read_versions() -> dict[str, str]:
    """Read the versions of the SDKs for which the table was written, by client."""
    versions: dict[str, str] = _read()["versions"]
    return versions


def _read() -> JsonObject:
    return tomllib.loads(TABLE.read_text())


def listed(client: str, stream: str) -> set[str]:
    """Return the differences that the table lists for a stream."""
    by_kind = (kind.differences[client].items() for kind in read_kinds().values())
    return {difference for items in by_kind for difference, streams in items if stream in streams}


def differences(expected: JsonObject, result: JsonObject) -> set[str]:
    """Return the differences between the expected reading of a response and the SDK's.

    If the SDK raises on a complete response, the exception is the only difference. If the response is incomplete, the
    completion that the SDK has assembled until then is compared as well.
    """
    raised, error = result.get("raised"), expected["error"]
    is_whole = error is None and expected["completion"] is not None and (expected["done"] or expected["finished"])
    if raised and is_whole:
        return {_raises(raised)}
    unlike = set(_unlike(expected["completion"], result.get("completion"), ""))
    if raised and error is not None and _message(error) not in raised["message"]:
        unlike.add(_raises(raised))
    return unlike if raised or is_whole else unlike | {PASSES}


def _unlike(ours: Any, theirs: Any, path: str) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in [*ours, *(name for name in theirs if name not in ours and name not in SDK_FIELDS)]:
            yield from _unlike(ours.get(name), theirs.get(name), f"{path}.{name}" if path else name)
    elif isinstance(ours, list) and isinstance(theirs, list):
        for position in range(max(len(ours), len(theirs))):
            at = slice(position, position + 1)
            yield from _unlike(next(iter(ours[at]), None), next(iter(theirs[at]), None), f"{path}[{position}]")
    elif isinstance(ours, bool) != isinstance(theirs, bool) or ours != theirs:
        yield f"{path or 'completion'}: {_shown(theirs)}"


def _shown(value: Any) -> str:
    text = NOTHING if value is None else _UUID.sub("(random)", json.dumps(value))
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} ..."


def _raises(raised: JsonObject) -> str:
    """Describe an exception; with its message only if it is the SDK's, because others depend on the Python version."""
    # Values from the response follow the dash.
    words = raised["message"].partition("\n")[0].partition(" - ")[0] if raised["own"] else ""
    return f"raises {raised['class']}: {words}" if words else f"raises {raised['class']}"


def _message(error: Any) -> str:
    """Return the message of an error, in any of the shapes that the streams have."""
    inner = error.get("error", error) if isinstance(error, dict) else error
    return str(inner.get("message", inner) if isinstance(inner, dict) else inner)
