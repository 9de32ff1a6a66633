"""Plays the files of `tests/data/streams` to an SDK, as responses to streamed requests."""

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
    """Return the expected reading of a stream."""
    values: JsonObject = json.loads(FOLDER.joinpath(f"{stream}.json").read_bytes())
    return {"content_type": "text/event-stream", "content_encoding": "", **values}


def play(program: Program, folder: Path) -> dict[str, JsonObject]:
    """Return what the SDK's helper makes of every stream."""
    with ScriptedServer(_respond) as server:
        cases = [
            {
                "base_url": f"{server.url}/v1",
                "method": "helper",
                "request": {"model": stream, "messages": [{"role": "user", "content": "?"}]},
            }
            for stream in STREAMS
        ]
        return dict(zip(STREAMS, program.run(cases, folder), strict=True))


def _respond(conversation: Conversation) -> None:
    stream = json.loads(conversation.read_body())["model"]
    wanted = expected(stream)
    coding = {"Content-Encoding": wanted["content_encoding"]} if wanted["content_encoding"] else {}
    # A client may leave in the middle of a response.
    with suppress(OSError):
        conversation.answer(FOLDER.joinpath(f"{stream}.sse").read_bytes(), wanted["content_type"], **coding)
