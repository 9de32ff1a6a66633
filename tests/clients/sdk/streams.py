"""Plays the files of `tests/data/streams` to an SDK, as the answers to streamed requests."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from tapeline.pipeline.demo import JsonObject
from tests.clients.sdk.programs import Program
from tests.support.places import DATA
from tests.support.servers.scripted import Conversation, ScriptedServer

FOLDER = DATA / "streams"
STREAMS = sorted(path.stem for path in FOLDER.glob("*.sse"))


def expected(stream: str) -> JsonObject:
    """What must be read of a stream."""
    values: JsonObject = json.loads(FOLDER.joinpath(f"{stream}.json").read_bytes())
    return {"content_type": "text/event-stream", "content_encoding": "", **values}


def play(program: Program, folder: Path) -> dict[str, JsonObject]:
    """What the SDK's helper makes of every stream."""
    with ScriptedServer(_answer) as server:
        orders = [
            {
                "base_url": f"{server.url}/v1",
                "way": "helper",
                "request": {"model": stream, "messages": [{"role": "user", "content": "?"}]},
            }
            for stream in STREAMS
        ]
        return dict(zip(STREAMS, program.ask(orders, folder), strict=True))


def _answer(conversation: Conversation) -> None:
    stream = json.loads(conversation.read_body())["model"]
    wanted = expected(stream)
    coding = {"Content-Encoding": wanted["content_encoding"]} if wanted["content_encoding"] else {}
    # A client that has had enough may leave within the answer.
    with suppress(OSError):
        conversation.answer(FOLDER.joinpath(f"{stream}.sse").read_bytes(), wanted["content_type"], **coding)
