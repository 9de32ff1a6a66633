"""What a journal holds of one exchange, typed."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..apis.base import Chunk
from ..wire.json_text import JsonObject


@dataclass
class CapturedExchange:
    """One exchange as the journal has it; `ending` is None when the recorder stopped before it ended.

    What was skipped is the number of bytes that passed after those kept, over the limit of a body. Of an exchange that
    was not recorded, but comes from a file, the head says so: see `importing.intake`.
    """

    exchange_id: str
    head: JsonObject
    answer: JsonObject | None
    ending: JsonObject | None
    request: list[Chunk] = field(default_factory=list)
    response: list[Chunk] = field(default_factory=list)
    request_skipped: int = 0
    response_skipped: int = 0
