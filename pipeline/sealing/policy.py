"""Applies the settings of a recording to its records: what is redacted, and whether text is kept.

The rules stand in `wire.redaction` and `records.content_removal`; a journal says which of them hold for it.
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
from ..wire.redaction import Redactor, user_format


@dataclass(frozen=True)
class Policy:
    """The redactor for the texts of a recording, None without redaction, and whether texts are kept at all."""

    redactor: Redactor | None
    keeps_content: bool

    def record(self, captured: CapturedExchange, recorder_id: str) -> Record:
        """Make the record of an exchange. If reading it fails, its bytes are kept as they are, and sealing goes on."""
        try:
            record = make_record(captured, recorder_id, self.redactor)
        except Exception as error:  # noqa: BLE001 - a bug that one exchange meets must not stop those after it
            record = unread_record(captured, recorder_id, f"Tapeline could not read it: {error!r}", self.redactor)
        return record if self.keeps_content else without_content(record)


def policy_of(about: dict[str, str], directory: DataDirectory) -> Policy:
    """Return the policy that a journal asks for: credentials are replaced unless it says otherwise."""
    redactor = None
    if about.get("redact") != "none":
        patterns = json.loads(about.get("redact_patterns", "[]"))
        redactor = Redactor(load_salt(directory.salt), tuple(map(user_format, patterns)))
    return Policy(redactor, about.get("content") != "none")


def keeps_less_than_journal(row: dict[str, Any]) -> bool:
    """Whether a row of `exchanges` lacks text that the journal still has."""
    return not row["content_kept"] or bool(row["request_redactions"] or row["response_redactions"])
