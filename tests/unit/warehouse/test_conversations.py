"""Conversations are put together from what was recorded, with no help from the client."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support.journals.journals import NOON_US, MadeUp, recording, write_exchanges
from tests.support.processes.recorder import tapeline_here

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.sealing.seal import seal
from tapeline.pipeline.warehouse import database

pytestmark = pytest.mark.slow

Message = dict[str, Any]
SECOND = 1_000_000
SYSTEM = {"role": "system", "content": "You are an agent."}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def said(text: str) -> Message:
    return {"role": "assistant", "content": text}


@dataclass
class Recordings:
    """Exchanges written to journals one by one, each a second after the one before; names stand for their ids."""

    root: Path
    names: dict[str, str] = field(default_factory=dict)
    _at_us: int = NOON_US

    def ask(self, *calls: tuple[str, list[Message], str], recorder: str = "recorder-1") -> None:
        """Record calls, each a name, the messages sent and the text answered, by a recorder of their own."""
        with recording(self.root, recorder) as writer:
            for number, (name, messages, text) in enumerate(calls, 1):
                made_up = MadeUp(messages=messages, text=text, started_at_us=self._at_us)
                self._at_us += SECOND
                (self.names[name],) = write_exchanges(writer, [made_up], number)

    def load(self) -> None:
        directory = DataDirectory(self.root)
        seal(directory)
        database.load(directory)

    def links(self) -> dict[str, tuple[str | None, str]]:
        """Of each exchange its parent and the first of its conversation."""
        by_id = {exchange_id: name for name, exchange_id in self.names.items()}
        return {
            by_id[row["exchange_id"]]: (by_id.get(row["parent_exchange_id"] or ""), by_id[row["conversation_id"]])
            for row in self.rows()
        }

    def rows(self) -> list[dict[str, Any]]:
        self.load()
        with database.querying(DataDirectory(self.root)) as connection:
            result = connection.execute("SELECT * FROM exchanges ORDER BY started_at")
            names = [column[0] for column in result.description or []]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@pytest.fixture
def recordings(data: Path) -> Recordings:
    return Recordings(data)


def test_turns_go_on_from_one_another(recordings: Recordings) -> None:
    history = [SYSTEM, user("Hello")]
    more = [*history, said("Hi."), user("What is new?")]
    recordings.ask(("a1", history, "Hi."), ("a2", more, "Much."), ("a3", [*more, said("Much."), user("Tell")], "No."))
    assert recordings.links() == {"a1": (None, "a1"), "a2": ("a1", "a1"), "a3": ("a2", "a1")}
    rows = recordings.rows()
    assert [row["repeated_prefix_messages"] for row in rows] == [None, 2, 4]
    assert [row["repeated_prefix_characters"] for row in rows] == [None, 22, 22 + 3 + 12]
    assert [row["prompt_characters"] for row in rows] == [22, 37, 37 + 5 + 4]


def test_agents_side_by_side_are_kept_apart(recordings: Recordings) -> None:
    """They share the system prompt and the first question, and their turns alternate."""
    start = [SYSTEM, user("Hello")]
    a2 = [*start, said("I am A"), user("Go on")]
    b2 = [*start, said("I am B"), user("Go on")]
    recordings.ask(
        ("a1", start, "I am A"),
        ("b1", start, "I am B"),
        ("b2", b2, "Done"),
        ("a2", a2, "Done"),
        ("a3", [*a2, said("Done"), user("More")], "Stop"),
        ("b3", [*b2, said("Done"), user("More")], "Stop"),
    )
    assert recordings.links() == {
        "a1": (None, "a1"),
        "b1": (None, "b1"),
        "b2": ("b1", "b1"),
        "a2": ("a1", "a1"),
        "a3": ("a2", "a1"),
        "b3": ("b2", "b1"),
    }


def test_a_repeated_conversation_goes_on_from_its_own_start(recordings: Recordings) -> None:
    start, more = [user("Hello")], [user("Hello"), said("Hi."), user("More")]
    recordings.ask(("a1", start, "Hi."), ("a2", more, "No"), ("b1", start, "Hi."), ("b2", more, "No"))
    assert recordings.links() == {"a1": (None, "a1"), "a2": ("a1", "a1"), "b1": (None, "b1"), "b2": ("b1", "b1")}


def test_an_edited_history_is_a_branch_from_where_it_was_the_same(recordings: Recordings) -> None:
    start = [user("Hello")]
    second = [*start, said("Hi."), user("More")]
    third = [*second, said("Some"), user("More")]
    recordings.ask(
        ("a1", start, "Hi."),
        ("a2", second, "Some"),
        ("a3", third, "End"),
        ("edited answer", [*second, said("Other"), user("More")], "End"),
        ("edited question", [*start, said("Hi."), user("Less")], "End"),
        ("asked again", third, "End"),
    )
    links = recordings.links()
    assert links["edited answer"] == ("a1", "a1")
    assert links["edited question"] == ("a1", "a1")
    assert links["asked again"] == ("a2", "a1")


def test_a_compacted_history_begins_a_conversation(recordings: Recordings) -> None:
    start = [SYSTEM, user("Hello")]
    recordings.ask(
        ("a1", start, "Hi."),
        ("compacted", [SYSTEM, user("Summary: they said hello."), user("More")], "Some"),
        ("after", [SYSTEM, user("Summary: they said hello."), user("More"), said("Some"), user("More")], "End"),
        ("edited from the start", [user("Hello!"), said("Hi."), user("More")], "End"),
    )
    assert recordings.links() == {
        "a1": (None, "a1"),
        "compacted": (None, "compacted"),
        "after": ("compacted", "compacted"),
        "edited from the start": (None, "edited from the start"),
    }


def test_a_conversation_goes_on_in_another_recording(recordings: Recordings) -> None:
    start = [user("Hello")]
    second = [*start, said("Hi."), user("More")]
    recordings.ask(("a1", start, "Hi."))
    recordings.load()
    recordings.ask(("a2", second, "Some"), recorder="recorder-2")
    recordings.load()
    recordings.ask(("a3", [*second, said("Some"), user("More")], "End"), recorder="recorder-3")
    assert recordings.links() == {"a1": (None, "a1"), "a2": ("a1", "a1"), "a3": ("a2", "a1")}


def test_a_parent_that_is_loaded_late_is_found(recordings: Recordings) -> None:
    """Its journal is away while its children are loaded, and comes back."""
    start = [user("Hello")]
    second = [*start, said("Hi."), user("More")]
    recordings.ask(("a1", start, "Hi."))
    journal = DataDirectory(recordings.root).journal("recorder-1")
    away = journal.rename(recordings.root / "away.sqlite")
    recordings.ask(("a2", second, "Some"), ("a3", [*second, said("Some"), user("More")], "End"), recorder="recorder-2")
    assert recordings.links() == {"a2": (None, "a2"), "a3": ("a2", "a2")}
    away.rename(journal)
    assert recordings.links() == {"a1": (None, "a1"), "a2": ("a1", "a1"), "a3": ("a2", "a1")}
    found = recordings.rows()
    DataDirectory(recordings.root).warehouse.unlink()
    assert recordings.rows() == found


def test_costs_stay_with_their_calls_when_a_parent_comes_late(recordings: Recordings) -> None:
    start = [user("Hello")]
    recordings.ask(("a1", start, "Hi."))
    journal = DataDirectory(recordings.root).journal("recorder-1")
    away = journal.rename(recordings.root / "away.sqlite")
    more = [*start, said("Hi."), user("More")]
    usages = [{"prompt_tokens": 1000 * number, "completion_tokens": 0} for number in range(1, 6)]
    with recording(recordings.root, "recorder-2") as writer:
        made_up = [MadeUp(messages=more, usage=usage, started_at_us=NOON_US + SECOND) for usage in usages]
        write_exchanges(writer, made_up, 1)
    asked = ("report", "cost-top", "--format", "json", "--data", recordings.root)
    before = json.loads(tapeline_here(*asked).stdout)["rows"]
    assert [(row["prompt_tokens"], row["cost_usd"]) for row in before] == [
        (5000, 0.00075), (4000, 0.0006), (3000, 0.00045), (2000, 0.0003), (1000, 0.00015)
    ]  # fmt: skip
    away.rename(journal)
    assert json.loads(tapeline_here(*asked).stdout)["rows"][:5] == before


def test_a_file_that_lies_there_twice_is_linked_as_once(recordings: Recordings) -> None:
    start, more = [user("Hello")], [user("Hello"), said("Hi."), user("More")]
    recordings.ask(("a1", start, "Hi."), ("a2", more, "Some"), ("a3", [*more, said("Some"), user("More")], "End"))
    seal(DataDirectory(recordings.root))
    for path in DataDirectory(recordings.root).dataset("exchanges").glob("*/*.parquet"):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    assert recordings.links() == {"a1": (None, "a1"), "a2": ("a1", "a1"), "a3": ("a2", "a1")}
    assert len(recordings.rows()) == 6


def test_an_answer_of_later_is_nobodys_parent(recordings: Recordings) -> None:
    start = [user("Hello")]
    recordings.ask(("early", [*start, said("Hi."), user("More")], "End"), ("a1", start, "Hi."))
    assert recordings.links() == {"early": (None, "early"), "a1": (None, "a1")}


def test_the_report_lists_them(recordings: Recordings) -> None:
    start = [SYSTEM, user("Hello")]
    second = [*start, said("Hi."), user("More")]
    recordings.ask(
        ("a1", start, "Hi."), ("a2", second, "Some"), ("other a2", second, "Else"), ("alone", [user("?")], "!")
    )
    result = tapeline_here("report", "conversations", "--format", "json", "--data", recordings.root)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)["rows"]
    assert row["first_call"] == recordings.names["a1"][-8:]
    assert (row["calls"], row["branches"], row["repeated_messages"]) == (3, 1, 4)
    assert row["prompt_tokens"] == 9
    assert row["repeated_share"] == pytest.approx(44 / (22 + 29 + 29))
    assert row["cached_share"] is None
