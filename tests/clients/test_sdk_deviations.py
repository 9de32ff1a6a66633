"""The table of the SDKs' deviations: every difference has its reason, and every stream in it is played."""

from __future__ import annotations

import pytest

from tests.clients.sdk.deviations import CLIENTS, UNEXPLAINED, Kind, read_kinds, read_versions
from tests.clients.sdk.programs import node_version, python_program
from tests.clients.sdk.streams import STREAMS
from tests.clients.test_sdk_node import CASES as NODE_CASES
from tests.clients.test_sdk_python import CASES as PYTHON_CASES

RESPONSES = {
    client: {*STREAMS, *(case.response_name for case in cases)}
    for client, cases in {"python": PYTHON_CASES, "node": NODE_CASES}.items()
}


@pytest.fixture(params=read_kinds())
def kind(request: pytest.FixtureRequest) -> Kind:
    return read_kinds()[request.param]


def test_every_difference_has_its_reason(kind: Kind) -> None:
    assert kind.what
    assert kind.ours
    assert kind.source
    assert UNEXPLAINED not in read_kinds()


def test_every_reason_has_a_stream_that_is_played(kind: Kind) -> None:
    streams = {client: kind.streams(client) for client in CLIENTS}
    assert any(streams.values())
    for client in CLIENTS:
        assert streams[client] <= RESPONSES[client]


def test_the_table_is_for_the_locked_versions() -> None:
    assert read_versions() == {"python": python_program().version, "node": node_version()}
