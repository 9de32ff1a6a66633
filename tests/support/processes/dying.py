"""A recorder's writer that fills its memory before a full disk, gets room, and is killed on its way back.

    python -m tests.support.processes.dying DATA STATEMENT COUNT WHEN

Killed by itself, with SIGKILL, `before` or `after` the so many-th time it commits, or notes what the journal lacks.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tapeline.addons.tapeline_recorder import journal_writer
from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.loss_ledger import Ledger
from tests.support.journals.journals import MadeUp, write_exchanges
from tests.support.machine.disks import FaultyFiles

EXCHANGES = 60
# Room for about two thirds of them.
MEMORY = 150_000
# Recovery takes several commits.
BATCH = 20_000


def main(data: str, step: str, count: str, when: str) -> int:
    """Go through it; gives 0 if the time to be killed never came."""
    journal_writer.FLUSH_SECONDS = journal_writer.RETRY_SECONDS = 0.02
    journal_writer.BATCH_BYTES = BATCH
    files = FaultyFiles(DataDirectory(Path(data)), {"recorder_id": "r", "run": "run"})
    writer = journal_writer.JournalWriter(files, max_pending_bytes=MEMORY)
    write_exchanges(writer, [MadeUp(content=f"{number} " * 200) for number in range(EXCHANGES)])
    files.disk.wait_until_asked()
    files.disk.wait_until_asked()
    die = _killer(int(count), when)
    if step == "commit":
        files.disk.around_commit = die
    else:
        note = Ledger.note
        Ledger.note = lambda *arguments: die(lambda: note(*arguments))  # type: ignore[method-assign]
    files.disk.full = False
    deadline = time.monotonic() + 10
    while writer._buffer and time.monotonic() < deadline:
        time.sleep(0.01)
    writer.close()
    return 0


def _killer(count: int, when: str) -> Callable[[Callable[[], Any]], Any]:
    calls = 0

    def call(step: Callable[[], Any]) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = step()
        if calls == count and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
