"""The reader reads any bytes, however they are cut, and it assumes nothing of an API.

The API here streams lines of JSON without an end marker, as Ollama does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from hypothesis import given
from hypothesis import strategies as st
from tests.support.journals.strategies import any_body, cuts, edited, edits, examples, pieces
from tests.support.journals.streams import CHAT, CODINGS, without_times
from tests.support.machine.limits import LIMITS, Limits, applied

from tapeline.pipeline.apis.base import DeltaText, ParsedResponse
from tapeline.pipeline.apis.body_reader import read_response
from tapeline.pipeline.apis.chat_completions.api import ChatCompletions
from tapeline.pipeline.apis.stream_formats import StreamFormat
from tapeline.pipeline.wire.content_coding import ContentDecoder
from tapeline.pipeline.wire.event_stream import ServerSentEvent
from tapeline.pipeline.wire.json_text import JsonObject

LINES_TYPE = "application/x-ndjson"


class LinesParser:
    def __init__(self, _limit: int) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield ServerSentEvent(line.decode())

    def finish(self) -> list[ServerSentEvent]:
        return [ServerSentEvent(self._rest.decode())] if self._rest else []

    def problems(self) -> list[str]:
        return []


class LinesAssembler:
    def __init__(self) -> None:
        self.usages: list[Any] = []
        self.problems: list[str] = []
        self.finished = False
        self._text = ""

    def feed(self, payload: JsonObject) -> DeltaText:
        self.finished = payload["done"]
        if self.finished:
            self.usages.append(payload["eval_count"])
        self._text += payload["text"]
        return DeltaText(content=len(payload["text"]))

    def completion(self) -> JsonObject:
        return {"text": self._text, "done": self.finished}


class LinesApi(ChatCompletions):
    """Differs from chat completions in all that reading a response asks of an API."""

    stream_format = StreamFormat(LINES_TYPE, lambda media_type, _: media_type == LINES_TYPE, 1, LinesParser)
    end_marker: str | None = None

    def is_response(self, payload: Any) -> TypeGuard[JsonObject]:
        return isinstance(payload, dict) and "text" in payload

    def is_error(self, payload: Any) -> bool:
        return isinstance(payload, dict) and "error" in payload

    def has_output(self, _payload: Any) -> TypeGuard[JsonObject]:
        return False

    def is_finished(self, completion: JsonObject) -> bool:
        return bool(completion["done"])

    def assembler(self) -> LinesAssembler:
        return LinesAssembler()


STREAM = b'{"text":"Yes","done":false}\n{"text":".","done":true,"eval_count":2}\n'


def test_a_stream_of_lines() -> None:
    response = read_response(LinesApi(), [(10, STREAM[:40]), (20, STREAM[40:])], content_type=LINES_TYPE)
    assert response.streamed
    assert response.completion == {"text": "Yes.", "done": True}
    assert (response.finished, response.done, response.usage_reports) == (True, False, 1)
    assert (response.event_offsets_us, response.event_sizes) == ([10, 20], [3, 1])
    assert response.times["last_token_us"] == 20


def test_a_stream_of_lines_without_its_last_one_is_not_finished() -> None:
    response = read_response(LinesApi(), [(10, STREAM[:40])], content_type=LINES_TYPE)
    assert response.completion == {"text": "Yes", "done": False}
    assert not response.finished
    assert len(response.problems) == 1


def test_a_line_with_an_error() -> None:
    body = STREAM[:28] + b'{"error":"out of memory"}\n'
    response = read_response(LinesApi(), [(10, body)], content_type=LINES_TYPE)
    assert response.error == {"error": "out of memory"}
    assert response.completion == {"text": "Yes", "done": False}


def test_a_whole_body() -> None:
    response = read_response(LinesApi(), [(10, b'{"text":"Yes.","done":true}')], content_type="application/json")
    assert not response.streamed
    assert response.completion == {"text": "Yes.", "done": True}
    assert response.finished


content_type = st.sampled_from(["text/event-stream", "Text/Event-Stream; charset=utf-8", "application/json", "", "\0"])


@examples
@given(any_body, content_type, st.sampled_from(sorted(CODINGS)), edits, cuts, st.sampled_from(LIMITS))
def test_any_body_is_read_the_same_however_it_is_cut(
    body: bytes, content_type: str, coding: str, edits: list[tuple[int, int, bytes]], cuts: list[int], limits: Limits
) -> None:
    sent = edited(CODINGS[coding](body), edits if coding else [])

    def read(chunks: list[bytes]) -> ParsedResponse:
        numbered = list(enumerate(chunks))
        with applied(limits):
            return read_response(
                CHAT, numbered, content_type=content_type, content_encoding=coding, limit=limits.decoded
            )

    whole = read([sent])
    assert without_times(read(pieces(sent, cuts))) == without_times(whole)
    assert without_times(read([sent[at : at + 1] for at in range(len(sent))])) == without_times(whole)
    if any(ContentDecoder(coding).feed(sent)) and not whole.problems:
        assert (whole.completion, whole.error, whole.text) != (None, None, None)
