"""Parses a text/event-stream as the WHATWG text says, from bytes in pieces of any size to events.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

Each `feed` gives the events that it completes, one by one; an unfinished one waits for more. Nothing is ever invalid:
a line that is no field is ignored, as the text has it, and counted; so is an event that outgrows the limit. Lines are
cut on bytes and decoded whole, so that a character split between two chunks cannot break. Whether an unfinished event
at the end counts is the caller's to say, by `finish`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = ("data", "event", "id", "retry")
# What is held of an event that does not end. One that carries an image has some megabytes.
MAX_EVENT_BYTES = 32 * 1024 * 1024


class ServerSentEvent(NamedTuple):
    """One dispatched event. `event` is "message" where the stream names none; `id` is the last one seen."""

    data: str
    event: str = "message"
    id: str = ""


class EventStreamParser:
    """One event stream."""

    def __init__(self, *, limit: int = MAX_EVENT_BYTES) -> None:
        #: Lines that are neither field nor comment.
        self.unknown_lines = 0
        #: Lines in which U+FFFD stands for bytes that are no UTF-8.
        self.broken_lines = 0
        #: Events that outgrew the limit.
        self.dropped_events = 0
        self._limit = limit
        self._pending = bytearray()
        self._at_start = True
        self._ended_in_cr = False
        self._data: list[str] = []
        self._event = ""
        self._id = ""
        #: Bytes of the lines since the last event.
        self._size = 0

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """The events that these bytes complete. They are taken to their end, or nothing more is fed."""
        for line in self._complete_lines(data):
            if line:
                if not line.startswith(b":"):
                    self._read_field(line)
            elif self._size and (event := self._dispatch()) is not None:
                yield event

    def finish(self) -> list[ServerSentEvent]:
        """The event that the stream ended within, if any.

        The WHATWG text drops it. Servers that end with `data: [DONE]` and no blank line are common enough
        that what they said last is given here, apart, for the caller to use or not.
        """
        line, self._pending = bytes(self._pending), bytearray()
        # A name without its colon is a field that was cut, not one without a value.
        if line and not line.startswith(b":") and not any(name.encode().startswith(line) for name in _FIELDS):
            self._read_field(line)
        event = self._dispatch()
        return [event] if event is not None else []

    def _complete_lines(self, data: bytes) -> list[bytes]:
        if self._ended_in_cr and data:
            # The LF of a CRLF that was cut in two belongs to the line end already seen.
            data = data.removeprefix(b"\n")
            self._ended_in_cr = False
        self._pending += data
        if self._at_start:
            if _BYTE_ORDER_MARK.startswith(bytes(self._pending[:3])) and len(self._pending) < 3:
                return []
            if self._pending.startswith(_BYTE_ORDER_MARK):
                del self._pending[:3]
            self._at_start = False
        if not data or (b"\n" not in data and b"\r" not in data):
            # One byte over the limit tells as much as all that may follow.
            del self._pending[self._limit + 1 :]
            return []
        pending = bytes(self._pending)
        lines = _LINE_END.split(pending) if b"\r" in pending else pending.split(b"\n")
        self._ended_in_cr = self._pending.endswith(b"\r")
        self._pending = bytearray(lines.pop()[: self._limit + 1])
        return lines

    def _read_field(self, line: bytes) -> None:
        self._size += len(line)
        if self._size > self._limit:
            self._data = []
            return
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            text = line.decode("utf-8", "replace")
            self.broken_lines += 1
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name not in _FIELDS:
            self.unknown_lines += 1

    def _dispatch(self) -> ServerSentEvent | None:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        is_dropped, self._size = self._size > self._limit, 0
        self.dropped_events += is_dropped
        if is_dropped or not data:
            return None
        return ServerSentEvent("\n".join(data), event or "message", self._id)
