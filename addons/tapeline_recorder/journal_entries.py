"""What the journal says of one exchange: three JSON objects, typed once.

The hooks write them, the import of files writes the same, and sealing reads them. Times are microseconds since the
exchange began, by the monotonic clock.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

#: Names in lower case and values, in the order in which they came; of JSON these pairs come back as lists.
HeaderPairs = list[tuple[str, str]]


class WireSizes(TypedDict, total=False):
    """Bytes of the bodies as they were on the wire; None where the file does not say."""

    request_bytes: int | None
    response_bytes: int | None


class ImportNote(TypedDict):
    """What an imported file does not say of an exchange, or says otherwise than a recorder would."""

    #: The file holds the bodies without their content coding.
    decoded: bool
    #: The file holds a stream that somebody put together.
    stream: Literal["whole", "cut"] | None
    bytes: WireSizes


class Head(TypedDict):
    """Known when a request's headers have been read."""

    exchange_id: str
    run: str
    #: Microseconds since 1970, UTC.
    started_at_us: int
    client_connection_id: str | None
    #: mitmproxy's name for the proxy mode; None where an imported file does not say.
    mode: str | None
    scheme: str
    host: str
    port: int
    path: str
    #: None where an imported file does not say.
    http_version: str | None
    headers: HeaderPairs
    api_key_id: str | None
    #: Length and keyed hash of each credential that the request came with.
    credentials: NotRequired[list[tuple[int, str]]]
    imported: NotRequired[ImportNote]


class StageTimes(TypedDict, total=False):
    """When the exchange reached a stage, and how long connecting took; None where an imported file does not say."""

    request_sent_us: int | None
    response_headers_us: int | None
    connect_us: int | None
    tls_us: int | None


class Answer(StageTimes):
    """Known when a response's headers have been read."""

    status_code: int
    http_version: str | None
    headers: HeaderPairs


class Ending(StageTimes):
    """Known when the exchange is over."""

    how: Literal["response", "error", "stopped", "killed"]
    ended_us: NotRequired[int | None]
    #: mitmproxy's words for what went wrong.
    error: NotRequired[str | None]
    client_connected: NotRequired[bool]
    server_connected: NotRequired[bool]
    #: Whether a connection to the server was made for this exchange.
    server_reached: NotRequired[bool]
    #: Credentials that the recorder masked in the bodies.
    request_masked: NotRequired[int]
    response_masked: NotRequired[int]
