"""Shows on a terminal what takes long, and for how long it has run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

#: Shorter work shows no bar.
PATIENCE_SECONDS = 2.0


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a bar on stderr from the third second until the block ends; nothing if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    bar = _Bar(text)
    timer = threading.Timer(PATIENCE_SECONDS, bar.show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        bar.take_away()


class _Bar:
    """A bar without a known end; different threads show it and take it away."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lock = threading.Lock()
        self._is_over = False
        self._progress: Progress | None = None

    def show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        with self._lock:
            if self._is_over:
                return
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._progress.add_task(self._text, total=None)
            self._progress.start()

    def take_away(self) -> None:
        with self._lock:
            self._is_over = True
            if self._progress is not None:
                self._progress.stop()
