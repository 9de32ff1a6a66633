"""The interface of a provider API, and the values that all APIs share.

An API turns bytes into values and values into bytes; it opens no file and asks no clock. `registry` knows all of them.
To add one, write a module with a class that has the members of `Api`, and add one line to `registry.APIS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeGuard

from ..wire.json_text import JsonObject
from ..wire.redaction import Redactor
from .rows import CompletionColumns, RequestColumns, TokenColumns
from .stream_formats import StreamFormat

#: Part of a body: microseconds since the exchange's start, and the bytes that came then.
Chunk = tuple[int, bytes]
#: Returns a value of the dataset `content` by its id, None where it is missing.
ContentOf = Callable[[str], Any]

#: The kinds of text in a response, in the usual order of a model. `first_<kind>_us` is the column of each.
TEXT_KINDS = ("reasoning", "content", "tool_call")


@dataclass(frozen=True)
class Content:
    """One JSON value that requests repeat; where a message holds a payload, it has a reference in its place."""

    content_id: str
    kind: str
    role: str | None
    text: str | None
    json: str
    #: For a payload: its media type, where the message names it, and the number of bytes that its base64 text encodes.
    media_type: str | None = None
    payload_bytes: int | None = None


@dataclass(frozen=True)
class History:
    """The conversation that a request repeats, as hashes."""

    #: One key for each response in it, in their order. A response with tool calls that have ids has a second key, with
    #: the ids, after the first: where client and provider keep ids, it distinguishes responses with the same text.
    keys: list[int]
    #: Hash of the whole conversation, from which the keys of the next response follow.
    state: bytes


@dataclass(frozen=True)
class ParsedRequest:
    """A request body, read: columns of `exchanges`, and rows for `content`."""

    columns: RequestColumns
    contents: tuple[Content, ...]
    #: None where the request is not one of its API.
    history: History | None = None
    #: Why the body could not be decoded.
    problem: str | None = None


@dataclass
class ParsedResponse:
    """A response body, read. Times are microseconds since the exchange's start."""

    streamed: bool = False
    #: The response object; that of a stream is the one that the provider would have sent without streaming.
    completion: JsonObject | None = None
    error: Any = None
    #: The body, where it holds neither a completion nor an error object.
    text: str | None = None
    #: The stream's end marker came.
    done: bool = False
    #: The API reports the completion as finished: in chat completions every choice has its finish reason.
    finished: bool = False
    #: How many events reported usage, and how many different usages they reported.
    usage_reports: int = 0
    usage_values: int = 0
    event_offsets_us: list[int] = field(default_factory=list)
    event_sizes: list[int] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    #: The number of further problems with events, which are not listed in `problems`.
    more_problems: int = 0


@dataclass(slots=True)
class DeltaText:
    """The number of characters of each kind that one event of a stream brought."""

    content: int = 0
    reasoning: int = 0
    tool_call: int = 0

    @property
    def total(self) -> int:
        return self.content + self.reasoning + self.tool_call


class Assembler(Protocol):
    """Puts the events of one stream together."""

    @property
    def usages(self) -> Sequence[Any]:
        """The usages reported so far, one for each event that had one."""

    @property
    def problems(self) -> list[str]:
        """What was guessed or left out; complete only after `completion`."""

    @property
    def finished(self) -> bool:
        """Whether the events so far end the response in order."""

    def feed(self, payload: JsonObject) -> DeltaText:
        """Add the JSON object of the next event."""

    def completion(self) -> JsonObject:
        """Return the object put together so far."""


class Api(Protocol):
    """One API of a provider: which paths are its own, and how its requests and responses are read and rebuilt."""

    #: The value of the column `api`.
    name: str
    #: A regular expression for paths of this API; it is searched for in a path without its query.
    path_pattern: str
    #: What clients append to a base URL such as `https://api.openai.com/v1`.
    endpoint: str
    #: The `url` of a request in a file for OpenAI's Batch API.
    batch_url: str
    #: How streamed responses are framed.
    stream_format: StreamFormat
    #: The data of the event that ends a stream without being JSON; None where a JSON object ends it.
    end_marker: str | None
    #: Fields that `request_fingerprint` leaves out, because they do not change the model's output.
    volatile_fields: tuple[str, ...]

    def read_request(self, body: bytes, content_encoding: str = "", redactor: Redactor | None = None) -> ParsedRequest:
        """Read a request body or its beginning; a redactor replaces the credentials in it."""

    def rebuild_request(self, row: RequestColumns, content_of: ContentOf) -> Any:
        """Return the JSON that `read_request` read, or the body's text where it was no JSON object."""

    def is_response(self, payload: Any) -> TypeGuard[JsonObject]:
        """Whether the JSON of a whole body is a response, finished or not."""

    def is_error(self, payload: Any) -> bool:
        """Whether a JSON value, of a whole body or of an event, reports an error, with or without a response."""

    def has_output(self, payload: Any) -> TypeGuard[JsonObject]:
        """Whether an event that reports an error also carries part of the response."""

    def is_finished(self, completion: JsonObject) -> bool:
        """Whether a whole response is marked as finished."""

    def assembler(self) -> Assembler:
        """Return an assembler for one stream."""

    def flatten(self, completion: JsonObject | None) -> CompletionColumns:
        """Return the response columns of a completion."""

    def rebuild_response(self, row: CompletionColumns) -> JsonObject | None:
        """Return the completion that `flatten` was given, None where there was none."""

    def usage(self, completion: JsonObject | None) -> Any:
        """Return the usage that a completion reports, as it came, None where it reports none."""

    def token_counts(self, usage: Any) -> TokenColumns:
        """Return the token columns; None stands for a count that `usage` does not report."""

    def answer_keys(self, request: ParsedRequest, completion: JsonObject | None) -> list[int] | None:
        """Return the keys that later requests have in their history; None where the request has no history."""

    def stream_events(
        self, completion: JsonObject, sizes: Sequence[int], kinds: Sequence[str], *, usage_apart: bool
    ) -> list[bytes]:
        """Return the events of a stream that is read as this completion, without the end marker.

        `sizes` has the number of characters of each event, `kinds` the order of the kinds of text. With `usage_apart`
        the last event carries the usage and nothing else.
        """

    def whole_as_events(self, completion: JsonObject, *, asks_usage: bool) -> list[bytes]:
        """Return the events of a stream, end marker included, for a completion that was not streamed."""

    def error_event(self, error: Any) -> bytes:
        """Return an event that is read as this error."""

    def end_event(self) -> bytes:
        """Return the event with the end marker, no bytes where the API has none."""
