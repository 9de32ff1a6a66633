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


def kinds(backlog: WriteBuffer) -> list[tuple[str, int]]:
    """What is written next, all at once."""
    portion = backlog.take(PLENTY)
    backlog.written(portion)
    return [(kind, number) for kind, number, _ in portion.entries()]


def counted(backlog: WriteBuffer) -> list[tuple[int, int]]:
    return [(loss.exchanges, loss.bytes) for loss in backlog.missing()]


def test_an_exchange_that_does_not_fit_is_given_up_whole_and_the_others_stay() -> None:
    backlog = WriteBuffer(10_000)
    assert backlog.add(head(1))
    assert backlog.add(chunk(1, 1000))
    assert backlog.add(head(2))
    assert not backlog.add(chunk(1, 20_000))
    assert not backlog.add(chunk(1, 5))
    assert backlog.add(ending(2))
    assert not backlog.add(ending(1))
    assert kinds(backlog) == [("head", 2), ("ending", 2)]
    assert backlog.lost == 1


def test_what_is_given_up_is_counted_once_with_all_of_its_bytes() -> None:
    backlog = WriteBuffer(10_000)
    for entry in (head(1), chunk(1, 1000), chunk(1, 20_000), chunk(1, 5), ending(1)):
        backlog.add(entry)
    assert counted(backlog) == [(1, 21_005)]


def test_memory_of_what_is_given_up_is_free_again() -> None:
    backlog = WriteBuffer(10_000)
    for number in range(1, 100):
        backlog.add(head(number))
        backlog.add(chunk(number, 8_000))
        assert not backlog.add(chunk(number, 8_000))
        backlog.add(ending(number))
    assert backlog.add(head(100))
    assert backlog.add(chunk(100, 8_000))
    assert backlog._given_up == {}


def test_what_is_being_written_counts_as_well() -> None:
    backlog = WriteBuffer(10_000)
    backlog.add(head(1))
    backlog.add(chunk(1, 6_000))
    portion = backlog.take(PLENTY)
    backlog.add(head(2))
    assert not backlog.add(chunk(2, 6_000))
    backlog.written(portion)
    backlog.add(ending(2))
    assert backlog.add(head(3))
    assert backlog.add(chunk(3, 6_000))


def test_an_exchange_that_is_given_up_while_it_is_written_gets_an_end_in_the_journal() -> None:
    backlog = WriteBuffer(10_000)
    backlog.add(head(1))
    portion = backlog.take(PLENTY)
    assert not backlog.add(chunk(1, 20_000))
    backlog.written(portion)
    assert kinds(backlog) == [("ending", 1)]
    backlog.add(ending(1))
    assert kinds(backlog) == []


def test_the_same_where_the_write_fails() -> None:
    backlog = WriteBuffer(10_000)
    backlog.add(head(1))
    portion = backlog.take(PLENTY)
    assert not backlog.add(chunk(1, 20_000))
    backlog.put_back(portion)
    assert counted(backlog) == [(1, 20_000)]
    assert kinds(backlog) == [("head", 1), ("ending", 1)]


def test_what_could_not_be_written_comes_before_what_came_later() -> None:
    backlog = WriteBuffer(100_000)
    backlog.add(head(1))
    backlog.add(chunk(1, 1))
    portion = backlog.take(PLENTY)
    backlog.add(ending(1))
    backlog.add(head(2))
    backlog.put_back(portion)
    assert kinds(backlog) == [("head", 1), ("response", 1), ("ending", 1), ("head", 2)]


def test_a_portion_is_no_larger_than_asked_by_more_than_an_entry() -> None:
    backlog = WriteBuffer(100_000)
    for entry in (head(1), chunk(1, 1000), chunk(1, 1001), chunk(1, 1002), head(2), head(3)):
        backlog.add(entry)
    taken, leaves_more = [], True
    while leaves_more:
        portion = backlog.take(2 * HEAD_SIZE)
        backlog.written(portion)
        leaves_more = portion.leaves_more
        taken.append([(kind, number) for kind, number, _ in portion.entries()])
    assert taken == [[("head", 1), ("response", 1)], [("head", 2), ("head", 3)], [("response", 1)], [("response", 1)]]


def test_what_waits_is_missing_until_it_is_written() -> None:
    backlog = WriteBuffer(100_000)
    backlog.add(head(1))
    backlog.add(chunk(1, 10))
    backlog.add(head(2))
    backlog.count("a fault", 3, 0)
    (fault, waiting) = backlog.missing()
    assert (fault.reason, fault.exchanges) == ("a fault", 3)
    assert (waiting.reason, waiting.exchanges, waiting.bytes) == (WAITING, 2, 10)
    portion = backlog.take(PLENTY)
    assert len(backlog.missing()) == 2
    assert backlog.missing(besides_taken=True) == []
    backlog.put_back(portion)
    assert len(backlog.missing()) == 2
    kinds(backlog)
    assert backlog.missing() == []


def test_exchanges_in_a_lost_journal_are_counted_and_not_gone_on_with() -> None:
    backlog = WriteBuffer(100_000)
    for entry in (head(1), head(2), ending(2)):
        backlog.add(entry)
    assert kinds(backlog) == [("head", 1), ("head", 2), ("ending", 2)]
    backlog.add(head(3))
    backlog.give_up_begun("journal: gone")
    assert not backlog.add(chunk(1, 5))
    assert kinds(backlog) == [("head", 3)]
    assert backlog.lost == 1
