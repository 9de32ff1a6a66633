"""A mitmproxy script that gives its process a clock which the test sets, also back; the monotonic one goes on.

`TEST_CLOCK` names a file of two numbers: what time it is, in seconds since 1970, and how fast it goes from then.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_FILE = Path(os.environ["TEST_CLOCK"])


class _Clock:
    def __init__(self) -> None:
        self._set = ""
        self._start_ns = 0
        self._rate = 1
        self._since_ns = 0

    def time_ns(self) -> int:
        now_ns, text = time.monotonic_ns(), _FILE.read_text("ascii")
        if text != self._set:
            seconds, rate = text.split()
            self._set, self._since_ns = text, now_ns
            self._start_ns, self._rate = int(float(seconds) * 1000) * 1_000_000, int(rate)
        return self._start_ns + self._rate * (now_ns - self._since_ns)


_clock = _Clock()
time.time_ns = _clock.time_ns
time.time = lambda: _clock.time_ns() / 1e9
