"""The benchmark itself: both ends of its traffic understand each other, and its ratios are right."""

from __future__ import annotations

import asyncio
from pathlib import Path

import duckdb
import pytest

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.reports.definition import all_reports
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse import database
from tests.bench import capture, figures, made, plan, querying, storing, traffic
from tests.bench.surroundings import WIRES, Surroundings, Wire
from tests.bench.turns import Turn, take_turns

pytestmark = pytest.mark.slow

QUICK = plan.quick(with_peers=False).with_turns(0.05, 2)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("events", capture.RESPONSES.values(), ids=capture.RESPONSES)
def test_clients_and_provider_understand_each_other(tmp_path: Path, wire: Wire, events: int) -> None:
    async def direct() -> list[Turn]:
        async with Surroundings(tmp_path).serving() as around:
            (turns,) = await take_turns(QUICK, around, wire, events, 3, (None,))
            return turns

    assert all(turn.rate > 0 for turn in asyncio.run(direct()))


def test_a_ratio_is_the_median_of_pairs() -> None:
    figure = figures.of_pairs("part", "what", [(2.0, 1.0), (6.0, 2.0), (1.0, 1.0)], "/s", "theirs", ">= 1.5")
    assert (figure.ratio, figure.least, figure.most, figure.is_met) == (2.0, 1.0, 3.0, True)
    assert figures.meets(1.3, "<= 1.2") is False


def test_generated_exchanges_load_in_the_requested_number(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.create()
    made.make(data, 300, with_content=True, days=3)
    assert database.load(data).exchanges == 300
    with database.querying(data) as connection:
        counts = connection.execute("SELECT count(DISTINCT exchange_id), max(message_count) FROM exchanges").fetchone()
        unknown = connection.execute("SELECT count(*) FROM messages WHERE text IS NULL").fetchone()
    assert counts == (300, 39)
    assert unknown == (0,)


def test_handwritten_queries_belong_to_reports_and_run(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.create()
    made.make(data, 300, with_content=False, days=1)
    assert querying.BY_HAND.keys() <= {report.name for report in all_reports()}
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW calls AS FROM read_parquet('{data.dataset('exchanges')}/*/*.parquet')")
        assert all(connection.execute(sql).fetchall() for sql in querying.BY_HAND.values())


def test_a_generated_journal_is_sealed_completely(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    storing.write_journal(data, 5, 50)
    sealed = seal(data)
    assert (sealed.exchanges, sealed.problems) == (5, ())


def test_stored_traffic_repeats_what_it_should() -> None:
    calls = traffic.agent(3)
    assert [len(call.messages) for call in calls] == [2, 4, 6]
    assert calls[2].messages[: len(calls[1].messages)] == calls[1].messages
    assert calls[1].messages[-2]["content"] == calls[0].text + " "
