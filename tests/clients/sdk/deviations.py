"""Where an SDK makes something else of an answer than Tapeline: found by comparing, listed in `sdk_deviations.toml`.

A difference is a line that says what the SDK makes of one value: `choices[0].message.role: "assistantassistant"`. A
value that is null is as good as one that is not there, since SDKs fill up what they know with null.
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
# What the SDKs put beside a text that they also parsed.
SDK_FIELDS = ("parsed", "parsed_arguments")
PASSES = "passes for whole"
NOTHING = "nothing"
MOST_CHARACTERS = 100
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Streams = dict[str, list[str]]


@dataclass
class Kind:
    """A reason why an SDK reads otherwise, and by client the differences and the streams that show them."""

    what: str = ""
    ours: str = ""
    source: str = ""
    found: dict[str, Streams] = field(default_factory=lambda: {client: {} for client in CLIENTS})

    def streams(self, client: str) -> set[str]:
        return {stream for streams in self.found[client].values() for stream in streams}


@cache
def read_kinds() -> dict[str, Kind]:
    """The kinds by name, in the order of the file."""
    return {
        name: Kind(row["what"], row["ours"], row["source"], {client: row.get(client, {}) for client in CLIENTS})
        for name, row in _read()["kinds"].items()
    }


def read_versions() -> dict[str, str]:
    """Of each client, the version of the SDK that the table is of."""
    versions: dict[str, str] = _read()["versions"]
    return versions


def _read() -> JsonObject:
    return tomllib.loads(TABLE.read_text())


def listed(client: str, stream: str) -> set[str]:
    """The differences that the table has for a stream."""
    found = (kind.found[client].items() for kind in read_kinds().values())
    return {difference for items in found for difference, streams in items if stream in streams}


def differences(expected: JsonObject, told: JsonObject) -> set[str]:
    """What the SDK makes otherwise of an answer that is expected to be read so.

    An exception in the middle of a whole answer is all there is to say of it; where the answer is not whole, what was
    put together until then is compared, too.
    """
    raised, error = told.get("raised"), expected["error"]
    is_whole = error is None and expected["completion"] is not None and (expected["done"] or expected["finished"])
    if raised and is_whole:
        return {_raises(raised)}
    found = set(_unlike(expected["completion"], told.get("completion"), ""))
    if raised and error is not None and _message(error) not in raised["message"]:
        found.add(_raises(raised))
    return found if raised or is_whole else found | {PASSES}


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
    """An exception; its words only where they are the SDK's, as others change from one Python to the next."""
    # Behind the dash stand figures of the answer.
    words = raised["message"].partition("\n")[0].partition(" - ")[0] if raised["own"] else ""
    return f"raises {raised['class']}: {words}" if words else f"raises {raised['class']}"


def _message(error: Any) -> str:
    """The message of an error in any shape that the streams have."""
    inner = error.get("error", error) if isinstance(error, dict) else error
    return str(inner.get("message", inner) if isinstance(inner, dict) else inner)
