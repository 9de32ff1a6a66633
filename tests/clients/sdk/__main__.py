"""Writes `tests/data/sdk_deviations.toml` from what the SDKs make of the streams: `python -m tests.clients.sdk`.

A known difference keeps its kind; a new one gets the kind `unexplained`, which the tests reject.
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
# Where the official SDKs read a response differently from Tapeline: for each kind, what they do, what Tapeline does and
# why, and by client each difference with the responses that show it. A name such as `usage_null` is a file of
# `streams/`; one such as `bifrost, plain` is a response of the built-in provider as that system. The sentences are
# written by hand, the lists by `python -m tests.clients.sdk`.
"""
_COLUMNS = 118


def main() -> None:
    runs = {"python": (python_program(), test_sdk_python.CASES), "node": (node_program(), test_sdk_node.CASES)}
    kinds = read_kinds()
    known = {client: _kinds_of(kinds, client) for client in CLIENTS}
    for kind in kinds.values():
        kind.differences = {client: {} for client in CLIENTS}
    for client, (program, cases) in runs.items():
        for stream, difference in sorted(set(_differences(program, cases))):
            by_stream, by_difference = known[client]
            name = by_stream.get((stream, difference)) or by_difference.get(difference, UNEXPLAINED)
            streams = kinds.setdefault(name, Kind()).differences[client].setdefault(difference, [])
            streams.append(stream)
    versions = {client: program.version for client, (program, _) in runs.items()}
    TABLE.write_text("\n".join([HEAD, *_written(versions, kinds), ""]))


def _kinds_of(kinds: dict[str, Kind], client: str) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """Return the kind of each difference, by stream and difference, and by difference alone."""
    rows = [
        (stream, difference, name)
        for name, kind in kinds.items()
        for difference, streams in kind.differences[client].items()
        for stream in streams
    ]
    return {(stream, difference): name for stream, difference, name in rows}, {row[1]: row[2] for row in rows}


def _differences(program: Program, cases: list[Case]) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        for stream, result in play(program, Path(folder)).items():
            yield from ((stream, difference) for difference in differences(expected(stream), result))
        for seen in converse(program, cases, Path(folder)).values():
            if "chunks" not in seen.result:
                name = seen.case.response_name
                yield from ((name, difference) for difference in differences(seen.expected(), seen.result))


def _written(versions: dict[str, str], kinds: dict[str, Kind]) -> Iterator[str]:
    yield "[versions]"
    for client, version in versions.items():
        yield f"{client} = {json.dumps(version)}"
    for name, kind in kinds.items():
        yield f"\n[kinds.{name}]"
        for key in ("what", "ours", "source"):
            yield f"{key} = {json.dumps(getattr(kind, key), ensure_ascii=False)}"
        for client in CLIENTS:
            if kind.differences[client]:
                yield f"\n[kinds.{name}.{client}]"
                for difference, streams in sorted(kind.differences[client].items()):
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
