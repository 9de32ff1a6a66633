"""Makes the rows of a batch, and writes its files: `content`, then `losses`, then `exchanges`, which name the others.

`seal` and `recovery` decide which exchanges form a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

from ..apis.base import Content
from ..dataset.files import Row, write_batch
from ..dataset.schema import CONTENT, EXCHANGES, LOSSES
from ..records.captured import CapturedExchange
from ..records.content_removal import content_without_text
from ..wire.json_text import dumps
from .journal import Loss
from .policy import Policy

# Messages that are more than a role and a text have their text in `content` twice: for search, and in the JSON. Nobody
# searches a text that is longer than a book.
MAX_TEXT_CHARACTERS = 1_000_000


@dataclass
class Batch:
    """The rows of a batch; `contents` by their ids."""

    exchanges: list[Row]
    contents: dict[str, Row]
    losses: list[Row]


@dataclass(frozen=True)
class Written:
    """How many exchanges and losses were written."""

    exchanges: int
    losses: int


def make_batch(
    recorder_id: str, run: str, exchanges: Iterable[CapturedExchange], losses: Iterable[Loss], policy: Policy
) -> Batch:
    """Make the rows of these exchanges and losses of a recorder."""
    batch = Batch([], {}, [loss_row(recorder_id, run, *loss) for loss in losses])
    for captured in exchanges:
        record = policy.record(captured, recorder_id)
        batch.exchanges.append({**record.row})
        for content in record.contents:
            if content.content_id not in batch.contents:
                row = _content_row(content, record.row["started_at"])
                batch.contents[content.content_id] = row if policy.keeps_content else content_without_text(row)
    return batch


def write(directory: DataDirectory, name: str, batch: Batch) -> Written:
    """Write the files of a batch, and empty it. Raises DataError if the disk does not take a file."""
    written = Written(len(batch.exchanges), sum(row["exchanges"] for row in batch.losses))
    contents = list(batch.contents.values())
    batch.contents.clear()
    for dataset, rows, time_column in (
        (CONTENT, contents, "first_seen_at"),
        (LOSSES, batch.losses, "at"),
        (EXCHANGES, batch.exchanges, "started_at"),
    ):
        write_batch(directory.dataset(dataset.name), dataset, name, _released(rows), itemgetter(time_column))
    return written


def loss_row(
    recorder_id: str, run: str, number: int | str, at_us: int, reason: str, exchanges: int, size: int | None
) -> Row:
    """Return the row of a loss; `at_us` is microseconds since 1970, `size` is bytes."""
    return {
        "loss_id": f"{recorder_id}-{number}",
        "recorder_id": recorder_id,
        "run": run,
        "at": datetime.fromtimestamp(at_us / 1_000_000, UTC),
        "reason": reason,
        "exchanges": exchanges,
        "bytes": size,
    }


def _released(rows: list[Row]) -> Iterator[Row]:
    """Yield the rows and let go of each: one may be as large as a request."""
    rows.reverse()
    while rows:
        yield rows.pop()


def _content_row(content: Content, first_seen_at: datetime) -> Row:
    text = content.text[:MAX_TEXT_CHARACTERS] if content.text is not None else None
    return {
        "content_id": content.content_id,
        "kind": content.kind,
        "role": content.role,
        "text": text,
        "json": None if _is_role_and_text(content.json, content.role, text) else content.json,
        "bytes": len(content.json.encode()),
        "media_type": content.media_type,
        "payload_bytes": content.payload_bytes,
        "first_seen_at": first_seen_at,
    }


def _is_role_and_text(json: str, role: str | None, text: str | None) -> bool:
    """Whether a message has only these two members, in this order: most do, and would be stored twice."""
    return role is not None and text is not None and json == dumps({"role": role, "content": text})
