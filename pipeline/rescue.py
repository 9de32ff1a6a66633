"""Seals the damaged journal of a recorder that is gone: what can be read of it, and how much that is not.

Its batches have names of their own and leave out what was sealed before, so that the same may be done again, and
nothing is there twice; the journal is put aside then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tapeline.addons.tapeline_paths import DataDirectory

from .batch import Written, loss_row, make_batch, write
from .damage import TRACELESS, damage_of
from .dataset import write_whole, written_batches, written_values
from .journal import BATCH_BYTES, BATCH_EXCHANGES
from .leftovers import move_aside
from .privacy import privacy_of
from .record import CapturedExchange
from .salvage import Salvage
from .schema import DATASETS, EXCHANGES, LOSSES

WITHOUT_CONTENT = {"content": "none"}


def damage_found(directory: DataDirectory, recorder_id: str) -> str | None:
    """What is wrong with a journal. It is noted, and stands from then on.

    Reading a journal can take the signs of damage away, and its rescue may have to be repeated.
    """
    verdict = directory.verdict(recorder_id)
    if verdict.exists():
        return verdict.read_text("utf-8")
    batches = max(written_batches(directory.dataset(name), recorder_id) for name in DATASETS)
    damage = damage_of(directory.journal(recorder_id), batches)
    if damage is not None:
        write_whole(verdict, damage.encode())
    return damage


def rescue(directory: DataDirectory, recorder_id: str, damage: str, done: Callable[[Written], None]) -> str:
    """Seal what can be read and was not sealed before, count the rest, and put the journal aside; says what it did."""
    sealed = written_values(directory.dataset(EXCHANGES.name), recorder_id, "exchange_id")
    counted = written_values(directory.dataset(LOSSES.name), recorder_id, "loss_id")
    name = f"{recorder_id}-salvaged"
    saved = 0
    salvage = Salvage(directory.journal(recorder_id))
    try:
        about = salvage.about
        # What is not known to be allowed is not kept; the journal itself stays.
        privacy = privacy_of(WITHOUT_CONTENT if about is None else about, directory)
        exchanges = (captured for captured in salvage.exchanges() if captured.exchange_id not in sealed)
        for number, members in enumerate(_in_batches(exchanges), 1):
            batch = make_batch(recorder_id, salvage.run, members, (), privacy)
            done(write(directory, f"{name}-{number:06d}", batch))
            saved += len(members)
        losses = make_batch(recorder_id, salvage.run, (), salvage.losses(), privacy)
    finally:
        salvage.close()
    missing = max(salvage.missing, 1 if damage in TRACELESS else 0)
    noted_at_us = directory.verdict(recorder_id).stat().st_mtime_ns // 1000
    losses.losses = [row for row in losses.losses if row["loss_id"] not in counted]
    losses.losses.append(
        loss_row(recorder_id, salvage.run, "journal", noted_at_us, f"journal: {damage}", missing, None)
    )
    done(write(directory, f"{name}-losses", losses))
    corrupt = move_aside(directory, recorder_id)
    unsure = " Its settings cannot be read: no text was kept." if about is None and saved else ""
    return (
        f"{directory.journal(recorder_id)} was damaged ({damage}): {saved:,} exchanges were saved, {missing:,} or more "
        f"are missing or not whole.{unsure} It is kept as {corrupt.name}."
    )


def _in_batches(exchanges: Iterable[CapturedExchange]) -> Iterator[list[CapturedExchange]]:
    """Exchanges in lists that fit well in memory."""
    members: list[CapturedExchange] = []
    size = 0
    for captured in exchanges:
        members.append(captured)
        size += sum(len(data) for _, data in (*captured.request, *captured.response))
        if len(members) >= BATCH_EXCHANGES or size >= BATCH_BYTES:
            yield members
            members, size = [], 0
    if members:
        yield members
