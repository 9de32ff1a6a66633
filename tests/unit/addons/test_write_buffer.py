"""What waits for the journal: within its limit, given up without a gap, and counted once an exchange."""

from __future__ import annotations

from tapeline.addons.tapeline_recorder.journal import Entry
from tapeline.addons.tapeline_recorder.write_buffer import WAITING, WriteBuffer, measure

HEAD_SIZE = measure(("head", 1, {}))[0]
PLENTY = 1_000_000


def head(number: int) -> Entry:
    return "head", number, {}


def chunk(number: int, size: int) -> Entry:
    return "response", number, (1, bytes(size))


def ending(number: int) -> Entry:
    return "ending", number, {}


def kinds(buffer: WriteBuffer) -> list[tuple[str, int]]:
    """What is written next, all at once."""
    batch = buffer.take(PLENTY)
    buffer.written(batch)
    return [(kind, number) for kind, number, _ in batch.entries()]


def counted(buffer: WriteBuffer) -> list[tuple[int, int]]:
    return [(loss.exchanges, loss.bytes) for loss in buffer.missing()]


def test_an_exchange_that_does_not_fit_is_given_up_whole_and_the_others_stay() -> None:
    buffer = WriteBuffer(10_000)
    assert buffer.add(head(1))
    assert buffer.add(chunk(1, 1000))
    assert buffer.add(head(2))
    assert not buffer.add(chunk(1, 20_000))
    assert not buffer.add(chunk(1, 5))
    assert buffer.add(ending(2))
    assert not buffer.add(ending(1))
    assert kinds(buffer) == [("head", 2), ("ending", 2)]
    assert buffer.lost == 1


def test_what_is_given_up_is_counted_once_with_all_of_its_bytes() -> None:
    buffer = WriteBuffer(10_000)
    for entry in (head(1), chunk(1, 1000), chunk(1, 20_000), chunk(1, 5), ending(1)):
        buffer.add(entry)
    assert counted(buffer) == [(1, 21_005)]


def test_memory_of_what_is_given_up_is_free_again() -> None:
    buffer = WriteBuffer(10_000)
    for number in range(1, 100):
        buffer.add(head(number))
        buffer.add(chunk(number, 8_000))
        assert not buffer.add(chunk(number, 8_000))
        buffer.add(ending(number))
    assert buffer.add(head(100))
    assert buffer.add(chunk(100, 8_000))
    assert buffer._given_up == {}


def test_what_is_being_written_counts_as_well() -> None:
    buffer = WriteBuffer(10_000)
    buffer.add(head(1))
    buffer.add(chunk(1, 6_000))
    batch = buffer.take(PLENTY)
    buffer.add(head(2))
    assert not buffer.add(chunk(2, 6_000))
    buffer.written(batch)
    buffer.add(ending(2))
    assert buffer.add(head(3))
    assert buffer.add(chunk(3, 6_000))


def test_an_exchange_that_is_given_up_while_it_is_written_gets_an_end_in_the_journal() -> None:
    buffer = WriteBuffer(10_000)
    buffer.add(head(1))
    batch = buffer.take(PLENTY)
    assert not buffer.add(chunk(1, 20_000))
    buffer.written(batch)
    assert kinds(buffer) == [("ending", 1)]
    buffer.add(ending(1))
    assert kinds(buffer) == []


def test_the_same_where_the_write_fails() -> None:
    buffer = WriteBuffer(10_000)
    buffer.add(head(1))
    batch = buffer.take(PLENTY)
    assert not buffer.add(chunk(1, 20_000))
    buffer.put_back(batch)
    assert counted(buffer) == [(1, 20_000)]
    assert kinds(buffer) == [("head", 1), ("ending", 1)]


def test_what_could_not_be_written_comes_before_what_came_later() -> None:
    buffer = WriteBuffer(100_000)
    buffer.add(head(1))
    buffer.add(chunk(1, 1))
    batch = buffer.take(PLENTY)
    buffer.add(ending(1))
    buffer.add(head(2))
    buffer.put_back(batch)
    assert kinds(buffer) == [("head", 1), ("response", 1), ("ending", 1), ("head", 2)]


def test_a_batch_is_larger_than_asked_by_an_entry_at_most() -> None:
    buffer = WriteBuffer(100_000)
    for entry in (head(1), chunk(1, 1000), chunk(1, 1001), chunk(1, 1002), head(2), head(3)):
        buffer.add(entry)
    taken, leaves_more = [], True
    while leaves_more:
        batch = buffer.take(2 * HEAD_SIZE)
        buffer.written(batch)
        leaves_more = batch.leaves_more
        taken.append([(kind, number) for kind, number, _ in batch.entries()])
    assert taken == [[("head", 1), ("response", 1)], [("head", 2), ("head", 3)], [("response", 1)], [("response", 1)]]


def test_what_waits_is_missing_until_it_is_written() -> None:
    buffer = WriteBuffer(100_000)
    buffer.add(head(1))
    buffer.add(chunk(1, 10))
    buffer.add(head(2))
    buffer.count("a fault", 3, 0)
    (fault, waiting) = buffer.missing()
    assert (fault.reason, fault.exchanges) == ("a fault", 3)
    assert (waiting.reason, waiting.exchanges, waiting.bytes) == (WAITING, 2, 10)
    batch = buffer.take(PLENTY)
    assert len(buffer.missing()) == 2
    assert buffer.missing(besides_taken=True) == []
    buffer.put_back(batch)
    assert len(buffer.missing()) == 2
    kinds(buffer)
    assert buffer.missing() == []


def test_exchanges_in_a_lost_journal_are_counted_and_not_gone_on_with() -> None:
    buffer = WriteBuffer(100_000)
    for entry in (head(1), head(2), ending(2)):
        buffer.add(entry)
    assert kinds(buffer) == [("head", 1), ("head", 2), ("ending", 2)]
    buffer.add(head(3))
    buffer.give_up_begun("journal: gone")
    assert not buffer.add(chunk(1, 5))
    assert kinds(buffer) == [("head", 3)]
    assert buffer.lost == 1
