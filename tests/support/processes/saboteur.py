"""A mitmproxy script, given after the recorder's, that breaks the recorder as the environment says.

`SABOTEUR_KIND`: adding an entry of this kind raises. `SABOTEUR_MEMORY`: so many bytes may wait for the disk.
"""

from __future__ import annotations

import os
import sys
from typing import Any

writer = sys.modules["tapeline_recorder.journal_writer"].JournalWriter
add = writer.add
kind_to_break = os.environ.get("SABOTEUR_KIND")
memory = os.environ.get("SABOTEUR_MEMORY")


def add_or_raise(self: Any, kind: str, number: int, value: Any) -> None:
    if kind == kind_to_break:
        raise RuntimeError(f"sabotage of {kind}")
    add(self, kind, number, value)


writer.add = add_or_raise
if memory is not None:
    writer.__init__.__kwdefaults__["max_pending_bytes"] = int(memory)
