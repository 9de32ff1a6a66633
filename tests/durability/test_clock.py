"""The clock is set while a recorder runs, or midnight comes: every exchange is there once, and durations stay."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.clients.wire import DONE, FINISH, PATH, chat, event
from tests.support.journals.journals import wait_until_kept
from tests.support.places import SUPPORT
from tests.support.processes.mitmproxy import RunningMitmproxy
from tests.support.processes.recorder import query, query_until, tapeline_here
from tests.support.servers.scripted import WAIT_SECONDS, Conversation, ScriptedServer, Turns

pytestmark = pytest.mark.slow

CLOCK = SUPPORT / "machine" / "clock.py"
MITMDUMP = Path(sys.executable).parent / "mitmdump"
FIRST, LAST = event("Before, "), event("after.") + FINISH + DONE
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEFORE_MIDNIGHT = datetime(2026, 11, 21, 23, 59, tzinfo=UTC)
AFTER_MIDNIGHT = datetime(2026, 11, 22, 0, 0, 5, tzinfo=UTC)
ROWS = (
    "SELECT model, outcome, choices[1].content AS text, date_trunc('hour', started_at)::VARCHAR AS hour, connect_us, "
    "event_offsets_us AS at, ended_us FROM exchanges ORDER BY model"
)
# What a duration is less than, whatever the clock on the wall does meanwhile; it is set by far more.
MOMENTS_US = 60_000_000


class Clock:
    """What the recorder takes for the time."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def set(self, now: datetime, rate: int = 1) -> None:
        unfinished = self.file.with_suffix(".new")
        unfinished.write_text(f"{now.timestamp()} {rate}", "ascii")
        unfinished.replace(self.file)


class Recorded:
    """A recorder with a clock of its own, before a provider that sends half a stream and waits for the rest."""

    def __init__(self, proxy: RunningMitmproxy, clock: Clock, rest: Turns) -> None:
        self.proxy = proxy
        self.clock = clock
        self._rest = rest

    @contextmanager
    def half_a_stream(self, model: str) -> Iterator[HTTPResponse]:
        """An answer of which half has been read."""
        parts = urlsplit(self.proxy.address)
        with closing(HTTPConnection(str(parts.hostname), parts.port, timeout=WAIT_SECONDS)) as connection:
            connection.request("POST", PATH, chat(model, stream=True))
            with closing(connection.getresponse()) as response:
                assert response.read(len(FIRST)) == FIRST
                yield response

    def finish(self, response: HTTPResponse) -> None:
        """Have the rest sent, and read it."""
        self._rest.give()
        assert response.read() == LAST

    def stream(self, model: str) -> None:
        with self.half_a_stream(model) as response:
            self.finish(response)

    def kill(self) -> None:
        self.proxy.process.kill()
        self.proxy.process.wait()
        self._rest.give()


@contextmanager
def recording_at(data: Path, now: datetime, rate: int = 1) -> Iterator[Recorded]:
    rest = Turns()

    def in_two_halves(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start()
        conversation.send(FIRST)
        rest.take()
        with suppress(ConnectionError):
            conversation.send(LAST)
            conversation.end()

    clock = Clock(data.parent / "clock")
    clock.set(now, rate)
    with (
        ScriptedServer(in_two_halves) as server,
        RunningMitmproxy(MITMDUMP, server.url, data, scripts=(CLOCK,), TEST_CLOCK=str(clock.file)) as proxy,
    ):
        yield Recorded(proxy, clock, rest)


def checked_rows(data: Path) -> list[dict[str, Any]]:
    """All rows, which have durations that no clock on the wall gives; loading again changes nothing."""
    rows = query(data, ROWS)
    for row in rows:
        assert row["at"] == sorted(row["at"])
        assert 0 <= row["at"][0] <= row["ended_us"] < MOMENTS_US
    assert "loaded: 0 exchanges" in tapeline_here("load", "--data", data).stdout
    assert query(data, "SELECT * FROM losses") == []
    return rows


def files(data: Path) -> list[str]:
    return sorted(path.parent.name for path in data.glob("exchanges/*/*.parquet"))


def test_a_stream_over_midnight_is_one_row_of_the_day_on_which_it_began(data: Path) -> None:
    with recording_at(data, BEFORE_MIDNIGHT) as recorded:
        with recorded.half_a_stream("a") as response:
            recorded.clock.set(AFTER_MIDNIGHT)
            recorded.finish(response)
        recorded.stream("b")
        assert recorded.proxy.stop() == 0
    rows = checked_rows(data)
    assert [(row["outcome"], row["text"]) for row in rows] == [("complete", "Before, after.")] * 2
    assert files(data) == ["date=2026-11-21", "date=2026-11-22"]
    days = query(data, "SELECT day::VARCHAR AS day, count(*) AS n FROM exchanges GROUP BY day ORDER BY day")
    assert days == [{"day": "2026-11-21", "n": 1}, {"day": "2026-11-22", "n": 1}]


def test_a_stream_that_a_kill_cuts_after_midnight_is_one_row_of_the_day_before(data: Path) -> None:
    with recording_at(data, BEFORE_MIDNIGHT) as recorded, recorded.half_a_stream("a"):
        recorded.clock.set(AFTER_MIDNIGHT)
        wait_until_kept(data, len(FIRST))
        recorded.kill()
    (cut,) = checked_rows(data)
    assert (cut["outcome"], cut["text"]) == ("recorder_stopped", "Before, ")
    assert files(data) == ["date=2026-11-21"]


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=1)], ids=["an hour", "a day"])
def test_a_clock_that_steps_back_neither_loses_nor_doubles(back: timedelta, data: Path) -> None:
    with recording_at(data, NOON) as recorded:
        recorded.stream("a")
        query_until(data, "SELECT * FROM exchanges", 1)
        with recorded.half_a_stream("b") as response:
            recorded.clock.set(NOON - back)
            recorded.finish(response)
        recorded.stream("c")
        assert recorded.proxy.stop() == 0
    rows = checked_rows(data)
    assert [(row["outcome"], row["text"]) for row in rows] == [("complete", "Before, after.")] * 3
    hours = [NOON, NOON, NOON - back]
    assert [datetime.fromisoformat(row["hour"]) for row in rows] == hours


def test_a_duration_that_the_clock_spoilt_is_not_known(data: Path) -> None:
    """How long connecting took is mitmproxy's, by the clock on the wall."""
    with recording_at(data, NOON, rate=-1) as recorded:
        recorded.stream("a")
        assert recorded.proxy.stop() == 0
    (row,) = checked_rows(data)
    assert (row["outcome"], row["connect_us"]) == ("complete", None)
