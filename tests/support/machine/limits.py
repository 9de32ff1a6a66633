"""Limits that small bodies meet: the real ones, against bodies that grow by decoding, are for large ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from tapeline.pipeline.apis import body_reader
from tapeline.pipeline.wire import content_coding


@dataclass(frozen=True)
class Limits:
    """What a body may decode to, what may be held of it whole, and how many events are read."""

    decoded: int = 1 << 20
    whole: int = 1 << 20
    growth: int = 20
    events: int = 1000


#: None that a small body meets, then one by one.
LIMITS = (Limits(), Limits(decoded=50), Limits(whole=40, growth=1), Limits(events=2))


@contextmanager
def applied(limits: Limits) -> Iterator[None]:
    """With these in the place of the real ones; what a body may decode to is an argument."""
    with (
        patch.object(content_coding, "MAX_WHOLE_BYTES", limits.whole),
        patch.object(content_coding, "MAX_WHOLE_GROWTH", limits.growth),
        patch.object(body_reader, "MAX_EVENTS", limits.events),
    ):
        yield
