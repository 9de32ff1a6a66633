"""What a recording is to keep, as its journal says, and the records that are made so.

The rules are `redaction`'s and `withholding`'s; here they meet the recording they are for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.headers import load_salt

from ..records.captured import CapturedExchange
from ..records.content_removal import without_content
from ..records.record import Record, make_record, unread_record
from ..wire.redaction import Redactor, own_format


@dataclass(frozen=True)
class Policy:
    """What is replaced in the texts of a recording, if anything is, and whether they are kept at all."""

    redactor: Redactor | None
    keeps_content: bool

    def record(self, captured: CapturedExchange, recorder_id: str) -> Record:
        """The exchange's record; one that reading fails on is kept as the bytes it is, and holds nothing up."""
        try:
            record = make_record(captured, recorder_id, self.redactor)
        except Exception as error:  # noqa: BLE001 - a fault of ours in one exchange must not stop all that follow
            record = unread_record(captured, recorder_id, f"Tapeline could not read it: {error!r}", self.redactor)
        return record if self.keeps_content else without_content(record)


def policy_of(about: dict[str, str], directory: DataDirectory) -> Policy:
    """The privacy that a journal asks for: credentials are replaced unless it says otherwise."""
    redactor = None
    if about.get("redact") != "none":
        patterns = json.loads(about.get("redact_patterns", "[]"))
        redactor = Redactor(load_salt(directory.salt), tuple(map(own_format, patterns)))
    return Policy(redactor, about.get("content") != "none")


def keeps_less_than_heard(row: dict[str, Any]) -> bool:
    """Whether a row of `exchanges` leaves out something that the journal still has."""
    return not row["content_kept"] or bool(row["request_redactions"] or row["response_redactions"])
