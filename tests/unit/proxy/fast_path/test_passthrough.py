"""The fast path does what h11 and h2 would have done, to the byte and to the flow-control window."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.addonmanager import AddonManager
from mitmproxy.exceptions import AddonHalt
from mitmproxy.master import Master
from mitmproxy.proxy.layers.http._hooks import HttpRequestHook
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection
from mitmproxy.test.tflow import tflow

from tapeline.pipeline.proxy.fast_path.addons import SelectiveAddonManager
from tapeline.pipeline.proxy.fast_path.passthrough import (
    count_received,
    data_frames,
    is_between_chunks,
    leading_chunks,
    send_data,
    whole_chunks,
)

pytestmark = pytest.mark.slow

CHUNKS = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4)
HEAD = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
BODIES = [b"data: 1\n\n", b"x" * 5000, b"data: [DONE]\n\n"]


def chunked(bodies: list[bytes]) -> bytes:
    return b"".join(b"%X\r\n%b\r\n" % (len(body), body) for body in bodies)


def read_by_h11(data: bytes) -> tuple[list[bytes], ChunkedReader]:
    reader, buffer, bodies = ChunkedReader(), ReceiveBuffer(), []
    buffer += data
    while (event := reader(buffer)) is not None and hasattr(event, "data"):
        bodies.append(bytes(event.data))
    return bodies, reader


@given(CHUNKS)
def test_whole_chunks_hold_what_h11_reads_in_them(bodies: list[bytes]) -> None:
    assert whole_chunks(chunked(bodies)) == bodies
    assert read_by_h11(chunked(bodies))[0] == bodies
    assert is_between_chunks(read_by_h11(chunked(bodies))[1])


@given(CHUNKS, st.data())
def test_what_is_cut_or_goes_on_is_left_to_h11(bodies: list[bytes], data: st.DataObject) -> None:
    whole = chunked(bodies)
    cut = data.draw(st.integers(1, len(chunked(bodies[-1:])) - 1))
    assert whole_chunks(whole[:-cut]) is None
    assert whole_chunks(whole + b"0\r\n\r\n") is None
    assert whole_chunks(b"2;name=value\r\nHi\r\n" + whole) is None
    assert not is_between_chunks(read_by_h11(whole[:-1])[1])


def connections() -> tuple[BufferedH2Connection, BufferedH2Connection]:
    """Both ends of a connection on which a stream's answer has begun, as mitmproxy makes them."""
    client = BufferedH2Connection(H2Configuration(client_side=True, header_encoding=False))
    server = BufferedH2Connection(H2Configuration(client_side=False, header_encoding=False))
    for one in (client, server):
        one.initiate_connection()
    client.send_headers(1, HEAD, end_stream=True)
    for sender, receiver in ((client, server), (server, client), (client, server)):
        receiver.receive_data(sender.data_to_send())
    server.send_headers(1, [(":status", "200")])
    client.receive_data(server.data_to_send())
    return client, server


def windows(connection: H2Connection) -> Any:
    stream = connection.streams[1]
    managers = (connection._inbound_flow_control_window_manager, stream._inbound_window_manager)
    inbound = [(one.current_window_size, one.max_window_size, one._bytes_processed) for one in managers]
    return inbound, connection.outbound_flow_control_window, stream.outbound_flow_control_window


def test_frames_are_counted_and_sent_as_h2_does() -> None:
    (client, server), (other_client, other_server) = connections(), connections()
    for body in BODIES:
        send_data(server, 1, body)
        other_server.send_data(1, body)
    assert windows(server) == windows(other_server)
    data = server.data_to_send()
    assert data == other_server.data_to_send()
    frames = data_frames(client, data)
    assert frames == [(1, body) for body in BODIES]
    assert count_received(client, frames)
    for event in other_client.receive_data(data):
        other_client.acknowledge_received_data(event.flow_controlled_length, 1)
    assert windows(client) == windows(other_client)
    assert client.streams[1]._actual_content_length == other_client.streams[1]._actual_content_length


def test_what_does_not_fit_a_window_waits_as_it_does_with_h2() -> None:
    _, server = connections()
    room = server.local_flow_control_window(1)
    sizes = [16_000] * (room // 16_000 + 1)
    for size in sizes:
        send_data(server, 1, b"x" * size)
    assert server.local_flow_control_window(1) == 0 or server.stream_buffers[1]
    assert windows(server)[1] >= 0


@pytest.mark.parametrize("ending", ["end_stream", "reset", "cut", "headers"])
def test_frames_that_are_more_than_data_are_left_to_h2(ending: str) -> None:
    client, server = connections()
    server.send_data(1, b"Hi")
    if ending == "end_stream":
        server.send_data(1, b"Hi", end_stream=True)
    elif ending == "reset":
        server.reset_stream(1)
    elif ending == "headers":
        server.send_headers(1, [("grpc-status", "0")], end_stream=True)
    data = server.data_to_send()
    assert data_frames(client, data[:-1] if ending == "cut" else data) is None


def test_frames_of_a_closed_stream_are_left_to_h2() -> None:
    client, server = connections()
    server.send_data(1, b"Hi")
    frames = data_frames(client, server.data_to_send())
    client.reset_stream(1)
    assert frames is not None
    before = windows(client)
    assert not count_received(client, frames)
    assert windows(client) == before


@pytest.mark.parametrize(
    "rest", [b"", b"0\r\n\r\n", b"2\r\nHi", b"2\r\nHi\r", b"2;a=b\r\nHi\r\n", b"z\r\n", b"2\r\nHix\n"]
)
def test_chunks_that_data_begins_with_are_told_from_what_follows(rest: bytes) -> None:
    data = chunked(BODIES)
    assert leading_chunks(data + rest) == (BODIES, len(data))


class Hearing:
    """An addon with a hook for requests, which notes that it was called."""

    def __init__(self, heard: list[object], error: Exception | None = None) -> None:
        self._heard = heard
        self._error = error

    def request(self, _flow: http.HTTPFlow) -> None:
        self._heard.append(self)
        if self._error is not None:
            raise self._error


class Deaf:
    """An addon without hooks of its own; addons within it may have some."""

    def __init__(self, *addons: object) -> None:
        if addons:
            self.addons = addons


@pytest.mark.parametrize("error", [None, ValueError(), AddonHalt()])
def test_addons_get_the_events_that_mitmproxy_would_send_them(error: Exception | None) -> None:
    heard: list[object] = []
    addons = [Hearing(heard, error), Hearing(heard), Hearing(heard)]
    first, within, last = addons

    async def trigger() -> list[list[object]]:
        master = Master(None, event_loop=asyncio.get_running_loop(), with_termlog=False)
        heard_by_kind = []
        for manager in (AddonManager(master), SelectiveAddonManager(master)):
            manager.chain = [Deaf(), first, Deaf(within), last]
            await manager.trigger_event(HttpRequestHook(tflow()))
            heard_by_kind.append(heard[:])
            heard.clear()
        return heard_by_kind

    theirs, ours = asyncio.run(trigger())
    assert ours == theirs == ([first] if isinstance(error, AddonHalt) else [first, within, last])
