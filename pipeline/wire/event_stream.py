"""Parses and writes text/event-stream by the WHATWG specification; bytes may come in pieces of any size.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

`feed` yields the events that it completes; an unfinished event waits for more bytes. No input is invalid: a line that
is no field is ignored, as the specification requires, and counted; so is an event over the limit. Lines are cut as
bytes and decoded whole, so that a character split between two chunks stays whole. The caller decides, with `finish`,
whether an unfinished event at the end counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

CONTENT_TYPE = "text/event-stream"

_LINE_END = re.compile(rb"\r\n|\r|\n")
_TEXT_LINE_END = re.compile(r"\r\n|\r|\n")
# How a stream begins: with a field or a comment.
_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
#: The number of bytes that `is_event_stream` needs of a longer body.
LONGEST_START = max(map(len, _STARTS))
# How JSON and HTML begin, and no event stream does.
_OTHER_STARTS = (b"{", b"[", b"<")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = ("data", "event", "id", "retry")
# Limits what is held in memory for an event that does not end. An event that carries an image has some megabytes.
MAX_EVENT_BYTES = 32 * 1024 * 1024


class ServerSentEvent(NamedTuple):
    """One dispatched event. `event` is "message" where the stream does not name it; `id` is the last one seen."""

    data: str
    event: str = "message"
    id: str = ""


def is_event_stream(media_type: str, start: bytes) -> bool:
    """Whether a body with this media type (lower case, no parameters) and these first bytes is an event stream.

    The first bytes come before the header: servers send JSON errors as event streams, and event streams as plain text.
    """
    return start.startswith(_STARTS) or (media_type == CONTENT_TYPE and not start.startswith(_OTHER_STARTS))


def encode_event(data: str, event: str = "") -> bytes:
    """Return the bytes of one event."""
    lines = [f"data: {line}\n" for line in _TEXT_LINE_END.split(data)]
    return "".join([f"event: {event}\n" if event else "", *lines, "\n"]).encode()


class EventStreamParser:
    """Parses one event stream."""

    def __init__(self, *, limit: int = MAX_EVENT_BYTES) -> None:
        #: Lines that are neither field nor comment.
        self.unknown_lines = 0
        #: Lines in which U+FFFD replaces bytes that are no UTF-8.
        self.broken_lines = 0
        #: Events over the limit.
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
        """Yield the events that these bytes complete; read all of them before the next call of `feed`."""
        for line in self._complete_lines(data):
            if line:
                if not line.startswith(b":"):
                    self._read_field(line)
            elif self._size and (event := self._dispatch()) is not None:
                yield event

    def finish(self) -> list[ServerSentEvent]:
        """Return the event that the stream ended within, if there is one.

        The specification drops it. Many servers end with `data: [DONE]` and no blank line, so the caller may use it.
        """
        line, self._pending = bytes(self._pending), bytearray()
        # A field's name without a colon was cut off here; it is no field with an empty value.
        if line and not line.startswith(b":") and not any(name.encode().startswith(line) for name in _FIELDS):
            self._read_field(line)
        event = self._dispatch()
        return [event] if event is not None else []

    def problems(self) -> list[str]:
        """Describe what could not be read; complete only after `finish`."""
        counts = {
            "lines that are no fields of an event stream": self.unknown_lines,
            "lines that are not UTF-8": self.broken_lines,
            "events over the limit": self.dropped_events,
        }
        return [f"{problem}: {count}" for problem, count in counts.items() if count]

    def _complete_lines(self, data: bytes) -> list[bytes]:
        if self._ended_in_cr and data:
            # A chunk may end between CR and LF: this LF belongs to the line end already seen.
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
            # One byte over the limit is enough to know that the line is too long.
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
