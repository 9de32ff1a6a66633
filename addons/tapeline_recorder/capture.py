"""One exchange while it passes: its bytes and their times go to the journal's writer.

The request's own credentials are masked in the copy, and bodies are kept up to a limit. The traffic is never touched.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable
from contextlib import suppress

from .journal_entries import Ending, StageTimes
from .journal_writer import JournalWriter
from .masking import Mask

PARTS = ("request", "response")
OVER_LIMIT = "over tapeline_max_body"
# The part of ids after the time: random at first, then one more each time (RFC 9562, section 6.2, method 2). So ids of
# one millisecond also sort, and files hold them in few bytes. One bit is left for the carry.
_RESTS = itertools.count(secrets.randbits(80) & ~(1 << 61))
#: The error of a connection that the proxy closed because it was silent.
SILENT = "nothing was said for longer than tcp_timeout"


class Capture:
    """One exchange while it passes. Times are microseconds since its start by the monotonic clock."""

    def __init__(
        self, number: int, client_id: str, writer: JournalWriter, max_body: int, masks: list[tuple[bytes, bytes]]
    ) -> None:
        self.number = number
        self.exchange_id = uuid7(time.time_ns())
        self.client_id = client_id
        self.request_done = False
        self.response_done = False
        self.ended = False
        self.times: StageTimes = {}
        self.writer = writer
        self._masks = {part: Mask(masks) for part in PARTS}
        self._room = dict.fromkeys(PARTS, max_body)
        self._is_over_limit = False
        self._began_ns = time.monotonic_ns()

    def now_us(self) -> int:
        return (time.monotonic_ns() - self._began_ns) // 1000

    def tee(self, part: str) -> Callable[[bytes], bytes]:
        """Return a stream callable that copies each chunk and returns it unchanged, whatever happens inside."""

        feed, note = self._masks[part].feed, self._note

        def note_chunk(data: bytes) -> bytes:
            if data and not self.ended:
                try:
                    note(part, feed(data))
                except Exception as error:  # noqa: BLE001 - mitmproxy does not guard a stream callable: the chunk would be lost
                    with suppress(Exception):
                        self.give_up(error)
            return data

        return note_chunk

    def end(self, ending: Ending) -> None:
        """Write the exchange's end, once; what comes later is not part of it."""
        if self.ended:
            return
        counts = {part: self._rest_of(part) for part in PARTS}
        ending = {"ended_us": self.now_us(), **self.times, **ending}
        if counts["request"]:
            ending["request_masked"] = counts["request"]
        if counts["response"]:
            ending["response_masked"] = counts["response"]
        self.writer.add("ending", self.number, ending)
        self.ended = True

    def _rest_of(self, part: str) -> int:
        """Write the bytes that the mask has held back; return how many credentials it covered."""
        mask = self._masks[part]
        self._note(part, mask.finish())
        return mask.count

    def give_up(self, error: Exception) -> None:
        """Record no more after a fault, and count the exchange once."""
        if not self.ended:
            self.ended = True
            self.writer.count_fault(f"recorder: {error!r}", self.number)

    def _note(self, part: str, data: bytes) -> None:
        if not data:
            return
        at_us, room = self.now_us(), self._room[part]
        if len(data) <= room:
            self._room[part] = room - len(data)
            self.writer.add(part, self.number, (at_us, data))
            return
        skipped = len(data) - room
        self._room[part] = 0
        if room:
            self.writer.add(part, self.number, (at_us, data[:room]))
        self.writer.add(f"{part}_skipped", self.number, (at_us, skipped))
        self.writer.count_loss(OVER_LIMIT, 0 if self._is_over_limit else 1, skipped)
        self._is_over_limit = True


def uuid7(now_ns: int, rest: int | None = None) -> str:
    """Return a UUID of version 7 (RFC 9562, section 5.7): milliseconds first, so that ids sort by time.

    The rest counts on from a random start, or is the 80 bits of `rest`.
    """
    value = (now_ns // 1_000_000) << 80 | (next(_RESTS) if rest is None else rest)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
