"""OpenAI's chat completions, behind the interface that all APIs have.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from ...wire.event_stream import encode_event
from ...wire.json_text import JsonObject, dumps
from ...wire.redaction import Redactor
from ..base import Assembler, ContentOf, ParsedRequest
from ..rows import CompletionColumns, RequestColumns, TokenColumns
from ..stream_formats import EVENT_STREAM, StreamFormat
from ..usage import token_counts, usage_of
from . import columns, request
from .chunks import make_chunks, natural_sizes
from .conversation import answer_keys
from .stream import ChatAssembler

END_MARKER = "[DONE]"
# A JSON object without choices that has one of these is an error: OpenAI's shape, and what web frameworks send.
ERROR_FIELDS = ("error", "detail", "message")
# Responses without choices: Bifrost has one schema for all its APIs (https://docs.getbifrost.ai/api-reference).
OTHER_OBJECTS = ("text.completion", "embedding", "speech", "transcribe", "responses.completion")


class ChatCompletions:
    """The API `chat_completions`; see `Api` for its members."""

    name: str = "chat_completions"
    path_pattern: str = r"/chat/completions/?$"
    endpoint: str = "/chat/completions"
    batch_url: str = "/v1/chat/completions"
    stream_format: StreamFormat = EVENT_STREAM
    end_marker: str | None = END_MARKER
    volatile_fields: tuple[str, ...] = request.VOLATILE_FIELDS

    def read_request(self, body: bytes, content_encoding: str = "", redactor: Redactor | None = None) -> ParsedRequest:
        return request.read_request(body, content_encoding, redactor)

    def rebuild_request(self, row: RequestColumns, content_of: ContentOf) -> Any:
        return request.rebuild_request(row, content_of)

    def is_response(self, payload: Any) -> TypeGuard[JsonObject]:
        return isinstance(payload, dict) and (
            payload.get("choices") is not None or payload.get("object") in OTHER_OBJECTS
        )

    def is_error(self, payload: Any) -> bool:
        if not isinstance(payload, dict):
            return False
        if payload.get("error") is not None:
            return True
        return payload.get("choices") is None and any(payload.get(name) is not None for name in ERROR_FIELDS)

    def has_output(self, payload: Any) -> TypeGuard[JsonObject]:
        return isinstance(payload, dict) and bool(payload.get("choices"))

    def is_finished(self, completion: JsonObject) -> bool:
        choices = completion.get("choices")
        return (
            isinstance(choices, list)
            and bool(choices)
            and all(isinstance(choice, dict) and choice.get("finish_reason") for choice in choices)
        )

    def assembler(self) -> Assembler:
        return ChatAssembler()

    def flatten(self, completion: JsonObject | None) -> CompletionColumns:
        return columns.flatten_completion(completion)

    def rebuild_response(self, row: CompletionColumns) -> JsonObject | None:
        return columns.rebuild_completion(row)

    def usage(self, completion: JsonObject | None) -> Any:
        return usage_of(completion)

    def token_counts(self, usage: Any) -> TokenColumns:
        return token_counts(usage)

    def answer_keys(self, request: ParsedRequest, completion: JsonObject | None) -> list[int] | None:
        return None if request.history is None else answer_keys(request.history, completion)

    def stream_events(
        self, completion: JsonObject, sizes: Sequence[int], kinds: Sequence[str], *, usage_apart: bool
    ) -> list[bytes]:
        return [_event(chunk) for chunk in make_chunks(completion, sizes, kinds, usage_apart=usage_apart)]

    def whole_as_events(self, completion: JsonObject, *, asks_usage: bool) -> list[bytes]:
        # Streams carry usage only where `stream_options.include_usage` asks for it, and then in a chunk of its own.
        shown = {name: value for name, value in completion.items() if name != "usage" or asks_usage}
        sizes = natural_sizes(shown, usage_apart=asks_usage)
        chunks = make_chunks(shown, sizes, usage_apart=asks_usage)
        return [*map(_event, chunks), self.end_event()]

    def error_event(self, error: Any) -> bytes:
        if self.is_error(error):
            return _event(error)
        return encode_event(error if isinstance(error, str) else dumps(error), "error")

    def end_event(self) -> bytes:
        return encode_event(END_MARKER)


def _event(payload: Any) -> bytes:
    return encode_event(dumps(payload))
