"""The formats in which providers stream a response: how a body is recognised as a stream and cut into events.

An API names one of these formats. A format for lines of JSON or for an array of chunks would stand here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ..wire.event_stream import CONTENT_TYPE, LONGEST_START, EventStreamParser, ServerSentEvent, is_event_stream


class StreamParser(Protocol):
    """Cuts the bytes of one body into events; nothing in the body makes it raise."""

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that these bytes complete."""

    def finish(self) -> list[ServerSentEvent]:
        """Return the event that the body ended within, if there is one."""

    def problems(self) -> list[str]:
        """Describe what could not be read; complete only after `finish`."""


@dataclass(frozen=True)
class StreamFormat:
    """How the events of a stream are framed."""

    content_type: str
    #: Whether a body is such a stream, from its media type (lower case, no parameters) and its first bytes.
    is_stream: Callable[[str, bytes], bool]
    #: How many bytes, blanks before them not counted, `is_stream` needs of a longer body.
    start_bytes: int
    #: Makes a parser that drops events of more bytes than this.
    parser: Callable[[int], StreamParser]


EVENT_STREAM = StreamFormat(CONTENT_TYPE, is_event_stream, LONGEST_START, lambda limit: EventStreamParser(limit=limit))
