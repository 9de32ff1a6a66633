"""Writes `tests/data/sdk_deviations.toml`, with what the SDKs make of the streams: `python -m tests.clients.sdk`.

A difference keeps the kind that it has; one that is new goes to the kind `unexplained`, which the tests refuse.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.clients import test_sdk_node, test_sdk_python
from tests.clients.sdk.cases import Case
from tests.clients.sdk.deviations import CLIENTS, TABLE, UNEXPLAINED, Kind, differences, read_kinds
from tests.clients.sdk.programs import Program, node_program, python_program
from tests.clients.sdk.session import converse
from tests.clients.sdk.streams import expected, play

HEAD = """\
# Where the official SDKs make something else of an answer than Tapeline: by kind, what they do, what Tapeline does and
# why, and then by client each difference with the answers that show it. A name such as `usage_null` is a file of
# `streams/`; one such as `bifrost, plain` is what the built-in provider answers in that dialect. Sentences are written
# by hand, lists by `python -m tests.clients.sdk`.
"""
_COLUMNS = 118


def main() -> None:
    asked = {"python": (python_program(), test_sdk_python.CASES), "node": (node_program(), test_sdk_node.CASES)}
    kinds = read_kinds()
    known = {client: _kinds_of(kinds, client) for client in CLIENTS}
    for kind in kinds.values():
        kind.found = {client: {} for client in CLIENTS}
    for client, (program, cases) in asked.items():
        for stream, difference in sorted(set(_found(program, cases))):
            by_stream, by_difference = known[client]
            name = by_stream.get((stream, difference)) or by_difference.get(difference, UNEXPLAINED)
            streams = kinds.setdefault(name, Kind()).found[client].setdefault(difference, [])
            streams.append(stream)
    versions = {client: program.version for client, (program, _) in asked.items()}
    TABLE.write_text("\n".join([HEAD, *_written(versions, kinds), ""]))


def _kinds_of(kinds: dict[str, Kind], client: str) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """The kind of each difference by the stream that shows it, and by itself."""
    rows = [
        (stream, difference, name)
        for name, kind in kinds.items()
        for difference, streams in kind.found[client].items()
        for stream in streams
    ]
    return {(stream, difference): name for stream, difference, name in rows}, {row[1]: row[2] for row in rows}


def _found(program: Program, cases: list[Case]) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        for stream, told in play(program, Path(folder)).items():
            yield from ((stream, difference) for difference in differences(expected(stream), told))
        for seen in converse(program, cases, Path(folder)).values():
            if "chunks" not in seen.told:
                found = differences(seen.expected(), seen.told)
                yield from ((seen.case.answer, difference) for difference in found)


def _written(versions: dict[str, str], kinds: dict[str, Kind]) -> Iterator[str]:
    yield "[versions]"
    for client, version in versions.items():
        yield f"{client} = {json.dumps(version)}"
    for name, kind in kinds.items():
        yield f"\n[kinds.{name}]"
        for key in ("what", "ours", "source"):
            yield f"{key} = {json.dumps(getattr(kind, key), ensure_ascii=False)}"
        for client in CLIENTS:
            if kind.found[client]:
                yield f"\n[kinds.{name}.{client}]"
                for difference, streams in sorted(kind.found[client].items()):
                    yield from _written_list(json.dumps(difference), streams)


def _written_list(key: str, values: list[str]) -> Iterator[str]:
    line = f"{key} = {json.dumps(values)}"
    if len(line) <= _COLUMNS:
        yield line
    else:
        yield f"{key} = ["
        yield from (f"  {json.dumps(value)}," for value in values)
        yield "]"


if __name__ == "__main__":
    main()
