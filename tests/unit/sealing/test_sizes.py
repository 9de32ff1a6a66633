"""What a recording costs: little for what conversations send again and again, and no more than it must for the rest."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from tests.support.clients.wire import Road, ask, chat
from tests.support.processes.memory import Passed, passed
from tests.support.processes.recorder import RunningRecorder, query
from tests.support.servers.scripted import Conversation, ScriptedServer

from tapeline.pipeline.wire.json_text import loads

pytestmark = pytest.mark.slow

Object = dict[str, Any]
MEGABYTE = 1_000_000
LARGE = 50 * MEGABYTE
# Of the body's size, beside what a small exchange takes: the body, its text, its JSON, and what writing Parquet takes.
MOST_MEMORY = 15


class Writer:
    """Writes text as people, models and tools do: words of a language, the frequent ones often."""

    def __init__(self) -> None:
        self.random = Random(11)
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        lengths = [self.random.randint(1, 11) for _ in range(6000)]
        self._words = ["".join(self.random.choices(letters, range(26, 0, -1), k=length)) for length in lengths]
        self._frequencies = [1 / rank for rank in range(1, len(self._words) + 1)]

    def text(self, least: int, most: int) -> str:
        """About so many characters."""
        size = self.random.randint(least, most)
        return " ".join(self.random.choices(self._words, self._frequencies, k=size // 5 + 1))[:size]

    def tools(self) -> list[Object]:
        """About 30 kB of them."""
        return [self._tool(number) for number in range(30)]

    def turn(self, number: int) -> list[Object]:
        """What an agent's turn adds to its history: every fifth, a person says something; else a tool answers."""
        call = {"name": f"tool_{number % 30}", "arguments": json.dumps({"input": self.text(500, 1500)})}
        said = {"role": "assistant", "content": self.text(200, 600)}
        if number % 5 == 4:
            return [said, {"role": "user", "content": self.text(200, 600)}]
        calls = [{"id": f"call_{number}", "type": "function", "function": call}]
        result = {"role": "tool", "tool_call_id": f"call_{number}", "content": self.text(500, 3000)}
        return [said | {"tool_calls": calls}, result]

    def _tool(self, number: int) -> Object:
        parameters = {f"p{place}": {"type": "string", "description": self.text(60, 120)} for place in range(5)}
        function = {"name": f"tool_{number}", "description": self.text(200, 400)}
        return {"type": "function", "function": function | {"parameters": {"type": "object", "properties": parameters}}}


def turns_of_an_agent(count: int) -> Iterator[tuple[bytes, bytes]]:
    """The request and the answer of each turn; a request repeats all that went before."""
    writer = Writer()
    tools = writer.tools()
    history: list[Object] = [
        {"role": "system", "content": writer.text(2000, 2000)},
        {"role": "user", "content": writer.text(400, 400)},
    ]
    for number in range(count):
        request = {"model": "gpt-4.1", "messages": history, "tools": tools}
        answer, reply = writer.turn(number)
        choice = {"index": 0, "message": answer, "finish_reason": "tool_calls" if "tool_calls" in answer else "stop"}
        completion = {"id": f"chatcmpl-{number}", "object": "chat.completion", "model": "gpt-4.1", "choices": [choice]}
        yield json.dumps(request).encode(), json.dumps(completion).encode()
        history += [answer, reply]


def record(data: Path, exchanges: list[tuple[bytes, bytes]]) -> None:
    """Send these through a real recorder, one after the other, and seal what it leaves."""
    answers = iter(exchanges)

    def script(conversation: Conversation) -> None:
        request, response = next(answers)
        assert conversation.read_body() == request
        conversation.answer(response)

    with ScriptedServer(script) as server, RunningRecorder(data, "--upstream", server.url) as recorder:
        connection = Road(recorder, server, tls=False).connect()
        for request, response in exchanges:
            assert ask(connection, request) == (200, response)
        connection.close()
    assert query(data, "SELECT count(*) AS n FROM exchanges") == [{"n": len(exchanges)}]


def dataset_size(data: Path) -> int:
    return sum(path.stat().st_size for path in data.rglob("*.parquet"))


def test_a_conversation_that_is_sent_again_at_each_turn_costs_a_fraction(data: Path) -> None:
    exchanges = list(turns_of_an_agent(100))
    assert 25_000 < len(json.dumps(loads(exchanges[0][0])["tools"])) < 40_000
    record(data, exchanges)
    sent, kept = sum(len(request) for request, _ in exchanges), dataset_size(data)
    sys.stdout.write(f"requests {sent:,} bytes, dataset {kept:,} bytes: a part in {sent / kept:.0f}\n")
    assert kept * 20 <= sent


def test_an_image_that_is_sent_again_at_each_turn_costs_once(data: Path) -> None:
    image = Random(5).randbytes(5 * MEGABYTE)
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    history: list[Object] = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    exchanges = []
    for number in range(5):
        history += [{"role": "user", "content": f"And what is in corner {number}?"}]
        exchanges.append((json.dumps({"model": "m", "messages": history}).encode(), b'{"choices":[]}'))
    record(data, exchanges)
    kept = dataset_size(data)
    sys.stdout.write(f"image {len(image):,} bytes in {len(exchanges)} turns, dataset {kept:,} bytes\n")
    assert kept < 1.2 * len(image)


@pytest.fixture(scope="module")
def large_text() -> str:
    return Writer().text(LARGE, LARGE)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Passed:
    """What an exchange takes that is nothing special."""
    return passed(tmp_path_factory.mktemp("small") / "recordings", chat())


def assert_modest(large: Passed, small: Passed) -> None:
    assert large.sealing_peak - small.sealing_peak < MOST_MEMORY * LARGE


def dataset(data: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(data / name / "**" / "*.parquet")


def test_a_message_of_50_megabytes(data: Path, large_text: str, small: Passed) -> None:
    found = passed(data, chat(text=large_text))
    assert (found.row["outcome"], found.row["message_count"]) == ("complete", 1)
    assert found.row["prompt_characters"] == len(large_text)
    (content,) = dataset(data, "content").to_dicts()
    assert content["json"] == json.dumps({"role": "user", "content": large_text}, separators=(",", ":"))
    assert large_text.startswith(content["text"])
    assert content["text"]
    assert_modest(found, small)


def test_50_megabytes_that_are_no_json(data: Path, large_text: str, small: Passed) -> None:
    found = passed(data, large_text.encode())
    assert (found.row["outcome"], found.row["message_count"]) == ("complete", None)
    assert found.row["request_text"] == large_text
    assert_modest(found, small)


def test_50_megabytes_that_are_no_text(data: Path, small: Passed) -> None:
    body = Random(5).randbytes(LARGE)
    found = passed(data, body)
    assert (found.row["outcome"], found.row["message_count"]) == ("complete", None)
    assert found.row["request_text"] == "base64:" + base64.b64encode(body).decode()
    assert_modest(found, small)


def test_a_request_without_a_body(data: Path) -> None:
    found = passed(data, b"")
    assert (found.row["outcome"], found.row["request_bytes"]) == ("complete", 0)
    assert (found.row["request_text"], found.row["message_count"]) == (None, None)
