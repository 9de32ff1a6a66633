"""What a socket brings is handled as soon as it is read, and what streams goes past the layers in between.

mitmproxy has a task for each connection, which asyncio wakes when there is something to read: one more turn of the
event loop for every event that streams. An inlet stands before what the task reads from, and hands over at once what
comes while the task waits for it. What comes at any other time goes to the task as ever, which waits, where it has to,
until a writer has room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from mitmproxy.connection import Connection
from mitmproxy.proxy import events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers import tls
from mitmproxy.proxy.server import ConnectionHandler

from .bypass import Bypass, Decrypted, find_bypass
from .passthrough import IS_KNOWN, has_room

# As much as mitmproxy reads at once.
READ_BYTES = 65_535
#: What is used of asyncio's insides.
_OF_READERS = {"_waiter", "_buffer"}
_OF_LOCKS = {"_locked", "_waiters"}
_handle_connection = ConnectionHandler.handle_connection
_receive_data = tls.TLSLayer.receive_data
_inlets: WeakValueDictionary[str, SocketReader] = WeakValueDictionary()
_rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def install_socket_readers() -> None:
    """Have all connections that are made from now on handle at once what they read."""
    if IS_KNOWN:
        ConnectionHandler.handle_connection = _with_inlet  # type: ignore[method-assign,assignment]
        tls.TLSLayer.receive_data = _receive_decrypted  # type: ignore[method-assign,assignment]


def open_bypass(context: Context, server: Connection, taker: Callable[[bytes], bytes | None]) -> None:
    """Have what comes from a server go past the layers, if all of those in between are known ones."""
    inlet = _inlets.get(server.id)
    if inlet is not None and inlet.route is None:
        inlet.route = find_bypass(inlet.handler, context, server, taker)


def _with_inlet(handler: ConnectionHandler, connection: Connection) -> Coroutine[Any, Any, None]:
    io = handler.transports[connection]
    reader, lock = io.reader, handler._server_event_lock
    if (
        type(reader) is asyncio.StreamReader
        and isinstance(io.writer, asyncio.StreamWriter)
        and vars(reader).keys() >= _OF_READERS
        and vars(lock).keys() >= _OF_LOCKS
    ):
        _inlets[connection.id] = SocketReader(handler, connection, reader, io.writer.transport)
    return _handle_connection(handler, connection)


class SocketReader(asyncio.BufferedProtocol):
    """Stands between a connection's socket and what mitmproxy's task for it reads from."""

    def __init__(
        self,
        handler: ConnectionHandler,
        connection: Connection,
        reader: asyncio.StreamReader,
        transport: asyncio.BaseTransport,
    ) -> None:
        self.handler = handler
        self.route: Bypass | None = None
        self._connection = connection
        self._reader: Any = reader
        self._lock: Any = handler._server_event_lock
        self._loop = asyncio.get_running_loop()
        # One for all of a loop: what is read is taken out of it before anything else is read.
        self._room = _rooms.setdefault(self._loop, memoryview(bytearray(READ_BYTES)))
        self._protocol: Any = transport.get_protocol()
        transport.set_protocol(self)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, size: int) -> None:
        data = bytes(self._room[:size])
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
        """Whether all that came before is handled, and mitmproxy would handle at once what comes now."""
        reader, lock = self._reader, self._lock
        if reader._waiter is None or reader._waiter.done() or reader._buffer or lock._locked or lock._waiters:
            return False
        for io in self.handler.transports.values():  # noqa: SIM110 - asked of each event, where a generator costs the most
            if io.writer is not None and not has_room(io.writer):
                return False
        return True

    def _handle(self, data: bytes) -> None:
        rest: bytes | None = data
        if self.route is not None:
            self.handler.timeout_watchdog.register_activity()
            try:
                rest = self.route.take(data)
            except Exception:  # noqa: BLE001 - asyncio would close the connection, mitmproxy says this and goes on
                self.handler.log("mitmproxy has crashed!", logging.ERROR, exc_info=True)
                return
        if rest is not None:
            event = events.DataReceived(self._connection, rest)
            asyncio.Task(self.handler.server_event(event), loop=self._loop, eager_start=True)


def _receive_decrypted(layer: tls.TLSLayer, data: bytes) -> CommandGenerator[None]:
    if type(data) is not Decrypted:
        yield from _receive_data(layer, data)
        return
    if data:
        yield from layer.event_to_child(events.DataReceived(layer.conn, bytes(data)))
    yield from _receive_data(layer, b"")
