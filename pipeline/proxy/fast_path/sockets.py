"""Handles bytes in the callback that reads them from a socket.

mitmproxy has a task for each connection, which asyncio wakes when bytes have come: one more turn of the event loop for
every event of a stream. A socket reader stands before the stream that the task reads from. It handles bytes at once
while the task waits for them, and otherwise hands them to the task, which waits until a writer has room.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from mitmproxy.connection import Connection
from mitmproxy.proxy import events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers import tls
from mitmproxy.proxy.server import ConnectionHandler

from ..fixes import connections
from .bypass import Bypass, Decrypted, Forward, find_bypass
from .passthrough import has_room

# As much as mitmproxy reads at once.
READ_BYTES = 65_535
# Attributes of asyncio's own that are used here.
_OF_READERS = {"_waiter", "_buffer"}
_OF_LOCKS = {"_locked", "_waiters"}
_receive_data = tls.TLSLayer.receive_data
_socket_readers: WeakValueDictionary[str, SocketReader] = WeakValueDictionary()
_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def open_bypass(context: Context, server: Connection, forward: Forward) -> None:
    """Let bytes from a server go past the layers, if all layers in between are known ones."""
    socket_reader = _socket_readers.get(server.id)
    if socket_reader is not None and socket_reader.bypass is None:
        socket_reader.bypass = find_bypass(socket_reader.handler, context, server, forward)


class ProxyConnectionHandler(connections.ProxyConnectionHandler):
    """Reads each connection by a `SocketReader`, and waits for writers only where one has no room."""

    async def handle_connection(self, connection: Connection) -> None:
        io = self.transports[connection]
        reader, lock = io.reader, self._server_event_lock
        if (
            type(reader) is asyncio.StreamReader
            and isinstance(io.writer, asyncio.StreamWriter)
            and vars(reader).keys() >= _OF_READERS
            and vars(lock).keys() >= _OF_LOCKS
        ):
            _socket_readers[connection.id] = SocketReader(self, connection, reader, io.writer.transport)
        await super().handle_connection(connection)

    async def drain_writers(self) -> None:
        """mitmproxy waits for each writer after each read, though a writer hardly ever has no room."""
        if any(io.writer is not None and not has_room(io.writer) for io in self.transports.values()):
            await super().drain_writers()


class SocketReader(asyncio.BufferedProtocol):
    """Stands between a connection's socket and the stream that mitmproxy's task for it reads from."""

    def __init__(
        self,
        handler: ConnectionHandler,
        connection: Connection,
        reader: asyncio.StreamReader,
        transport: asyncio.BaseTransport,
    ) -> None:
        self.handler = handler
        self.bypass: Bypass | None = None
        self._connection = connection
        self._reader: Any = reader
        self._lock: Any = handler._server_event_lock
        self._loop = asyncio.get_running_loop()
        # One buffer for all sockets of a loop: its bytes are copied before another socket is read.
        self._buffer = _buffers.setdefault(self._loop, memoryview(bytearray(READ_BYTES)))
        self._protocol: Any = transport.get_protocol()
        transport.set_protocol(self)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        data = bytes(self._buffer[:size])
        if self._is_waited_for():
            self._handle(data)
        else:
            self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        stays_open: bool | None = self._protocol.eof_received()
        return stays_open

    def connection_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def _is_waited_for(self) -> bool:
        """Whether all earlier bytes are handled, and mitmproxy would handle new ones at once."""
        reader, lock = self._reader, self._lock
        if reader._waiter is None or reader._waiter.done() or reader._buffer or lock._locked or lock._waiters:
            return False
        for io in self.handler.transports.values():  # noqa: SIM110 - asked of each event, where a generator costs the most
            if io.writer is not None and not has_room(io.writer):
                return False
        return True

    def _handle(self, data: bytes) -> None:
        rest: bytes | None = data
        if self.bypass is not None:
            self.handler.timeout_watchdog.register_activity()
            try:
                rest = self.bypass.take(data)
            except Exception:  # noqa: BLE001 - mitmproxy logs this and goes on, asyncio would close the connection
                self.handler.log("mitmproxy has crashed!", logging.ERROR, exc_info=True)
                return
        if rest is not None:
            event = events.DataReceived(self._connection, rest)
            asyncio.Task(self.handler.server_event(event), loop=self._loop, eager_start=True)


def receive_data(layer: tls.TLSLayer, data: bytes) -> CommandGenerator[None]:
    """Stand for `TLSLayer.receive_data`: bytes that the bypass has decrypted go to the layer above."""
    if type(data) is not Decrypted:
        yield from _receive_data(layer, data)
        return
    if data:
        yield from layer.event_to_child(events.DataReceived(layer.conn, bytes(data)))
    yield from _receive_data(layer, b"")
