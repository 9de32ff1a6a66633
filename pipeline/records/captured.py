"""One exchange as the journal has it: its bytes with their times, and three JSON objects about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tapeline.addons.tapeline_recorder.journal_entries import Answer, Ending, Head

from ..apis.base import Chunk


@dataclass
class CapturedBodies:
    """The bodies of an exchange, as far as they were kept."""

    request: list[Chunk] = field(default_factory=list)
    response: list[Chunk] = field(default_factory=list)
    #: The number of bytes that followed those kept, beyond the limit of a body.
    request_skipped: int = 0
    response_skipped: int = 0


@dataclass(kw_only=True)
class CapturedExchange(CapturedBodies):
    """One exchange. The head of an exchange that was imported from a file, not recorded, has the member `imported`."""

    exchange_id: str
    head: Head
    #: None if no response came.
    answer: Answer | None
    #: None if the recorder stopped before the exchange ended.
    ending: Ending | None
