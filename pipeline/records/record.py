"""Turns a captured exchange into its row in `exchanges` and its rows for `content`.

The request is read, the response put together, and the outcome decided. Nothing here reads a file or a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from tapeline.addons.tapeline_recorder.journal_entries import Head, HeaderPairs, ImportNote

from ..apis.base import Api, Content, ParsedRequest, ParsedResponse
from ..apis.body_reader import MAX_PROBLEMS, read_response
from ..apis.providers import provider_of
from ..apis.registry import api_for_path
from ..apis.rows import (
    CompletionColumns,
    ErrorColumns,
    ExchangeRow,
    Header,
    OriginColumns,
    ResponseColumns,
    TimeColumns,
    UsageColumns,
    all_null,
)
from ..apis.usage import reported_cost
from ..dataset.schema import SCHEMA_VERSION
from ..wire.base64_payloads import body_text
from ..wire.json_text import JsonObject, dumps, storable
from ..wire.redaction import Credential, Redactor
from .captured import CapturedExchange
from .outcome import cuts_by_limit, judge

type _Headers = list[tuple[str, str]]
type _Stage = Literal["request_sent_us", "response_headers_us", "connect_us", "tls_us"]


@dataclass(frozen=True)
class Record:
    """One exchange as the dataset has it."""

    row: ExchangeRow
    contents: tuple[Content, ...]


def make_record(captured: CapturedExchange, recorder_id: str, redactor: Redactor | None = None) -> Record:
    """Read the exchange's bytes; a redactor replaces the credentials in them.

    No bytes of a body make it raise.
    """
    api = api_for_path(captured.head["path"])
    read = _read(captured, api, redactor)
    request, response = read.request, read.response
    outcome, detail = judge(captured, response)
    cuts = cuts_by_limit(captured)
    request_bytes, response_bytes = _sizes(captured)
    row: ExchangeRow = {
        **_origin(captured, recorder_id, api),
        "user_agent": _header(read.request_headers, "user-agent") or None,
        **request.columns,
        **_response_columns(captured, api, read),
        **_usage_columns(api, read),
        **_time_columns(captured, response),
        "outcome": outcome,
        "outcome_detail": storable("; ".join(filter(None, (*cuts, detail)))) or None,
        "request_bytes": request_bytes,
        "response_bytes": response_bytes,
        "reassembly_problems": [*cuts, *_problems(request, response)],
        "schema_version": SCHEMA_VERSION,
    }
    return Record(row, request.contents)


def unread_record(
    captured: CapturedExchange, recorder_id: str, problem: str, redactor: Redactor | None = None
) -> Record:
    """Return a record with both bodies as text, for an exchange on which `make_record` failed."""

    def text_of(body: bytes) -> str | None:
        text = body_text(body)
        return (redactor.text(text) if redactor else text) or None

    row: ExchangeRow = {
        **all_null(ExchangeRow),
        **_origin(captured, recorder_id, api_for_path(captured.head["path"])),
        "status_code": captured.answer.get("status_code") if captured.answer is not None else None,
        "request_text": text_of(b"".join(data for _, data in captured.request)),
        "response_text": text_of(b"".join(data for _, data in captured.response)),
        "content_kept": True,
        "usage_source": "absent",
        "outcome": "invalid",
        "outcome_detail": storable(problem),
        "reassembly_problems": [storable(problem)],
        "schema_version": SCHEMA_VERSION,
    }
    return Record(row, ())


@dataclass(frozen=True)
class _Read:
    """Both bodies of an exchange, read by its API, and the numbers of credentials replaced in them."""

    request_headers: _Headers
    response_headers: _Headers
    request: ParsedRequest
    response: ParsedResponse
    completion: CompletionColumns
    request_redactions: int | None = None
    response_redactions: int | None = None


def _read(captured: CapturedExchange, api: Api, redactor: Redactor | None) -> _Read:
    head, answer = captured.head, captured.answer
    imported = head.get("imported")
    request_headers = _headers(head["headers"])
    response_headers = _headers(answer["headers"]) if answer is not None else []
    coding = "" if imported is not None and imported["decoded"] else "content-encoding"
    before = redactor.count if redactor else 0
    body = b"".join(data for _, data in captured.request)
    request = api.read_request(body, _header(request_headers, coding), redactor)
    response = read_response(
        api,
        captured.response,
        content_type=_header(response_headers, "content-type"),
        content_encoding=_header(response_headers, coding),
    )
    if imported is not None and imported["stream"] is not None:
        # The file has the stream put together to one object, which shows neither that it was one nor that it was cut.
        response.streamed, response.done = True, imported["stream"] == "whole"
    if redactor is None:
        return _Read(request_headers, response_headers, request, response, api.flatten(response.completion))
    between = redactor.count
    _redact(response, redactor, _credentials(head))
    return _Read(
        request_headers,
        response_headers,
        request,
        response,
        api.flatten(response.completion),
        between - before,
        redactor.count - between,
    )


def _redact(response: ParsedResponse, redactor: Redactor, credentials: tuple[Credential, ...]) -> None:
    """Replace credentials of known formats everywhere, and those that the request came with in errors.

    Errors often repeat the credential that was refused.
    """
    response.completion = redactor.value(response.completion)
    response.error = redactor.without(redactor.value(response.error), credentials)
    response.problems = redactor.without([redactor.text(problem) for problem in response.problems], credentials)
    if response.text is not None:
        response.text = redactor.without(redactor.text(response.text), credentials)


def _credentials(head: Head) -> tuple[Credential, ...]:
    return tuple(Credential(length, hashed) for length, hashed in head.get("credentials", []))


def _origin(captured: CapturedExchange, recorder_id: str, api: Api) -> OriginColumns:
    head = captured.head
    started_at = datetime.fromtimestamp(head["started_at_us"] // 1_000_000, UTC)
    return {
        "exchange_id": captured.exchange_id,
        "recorder_id": recorder_id,
        "run": storable(head["run"]),
        "started_at": started_at.replace(microsecond=head["started_at_us"] % 1_000_000),
        "client_connection_id": head.get("client_connection_id"),
        "mode": _storable(head["mode"]),
        "scheme": storable(head["scheme"]),
        "host": storable(head["host"]),
        "port": head["port"],
        "path": storable(head["path"]),
        "api": api.name,
        "http_version": _storable(head["http_version"]),
        "provider": provider_of(head["scheme"], storable(head["host"]), head["port"]),
        "user_agent": None,
        "api_key_id": _storable(head["api_key_id"]),
    }


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _response_columns(captured: CapturedExchange, api: Api, read: _Read) -> ResponseColumns:
    answer, completion = captured.answer, read.completion
    request_redactions, response_redactions = _redactions(captured, read)
    return {
        "answer_keys": api.answer_keys(read.request, read.response.completion),
        "status_code": answer["status_code"] if answer is not None else None,
        "streamed": read.response.streamed if answer is not None else None,
        "response_id": completion["response_id"],
        "response_model": completion["response_model"],
        "response_created": completion["response_created"],
        "system_fingerprint": completion["system_fingerprint"],
        "served_service_tier": completion["served_service_tier"],
        "choices": completion["choices"],
        "response_extra": completion["response_extra"],
        "response_text": read.response.text,
        **_error_columns(read.response.error),
        "request_redactions": request_redactions,
        "response_redactions": response_redactions,
        "content_kept": True,
        "request_headers": _named(read.request_headers),
        "response_headers": _named(read.response_headers),
    }


def _redactions(captured: CapturedExchange, read: _Read) -> tuple[int | None, int | None]:
    """Add the credentials that the recorder masked to those that were replaced here; None if none were looked for."""
    ending = captured.ending
    in_request = (ending.get("request_masked") if ending is not None else None, read.request_redactions)
    in_response = (ending.get("response_masked") if ending is not None else None, read.response_redactions)
    return _sum(*in_request), _sum(*in_response)


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _problems(request: ParsedRequest, response: ParsedResponse) -> list[str]:
    problems = [f"request: {request.problem}"] if request.problem is not None else []
    problems += response.problems
    rest = len(problems) - MAX_PROBLEMS + response.more_problems
    return [storable(problem) for problem in problems[:MAX_PROBLEMS]] + ([f"{rest} more problems"] if rest > 0 else [])


def _error_columns(payload: Any) -> ErrorColumns:
    """Return the error's fields, wherever the shapes of errors have them: OpenAI's, Google's, and web frameworks'."""
    if payload is None:
        return all_null(ErrorColumns)
    (member,) = payload if isinstance(payload, list) and len(payload) == 1 else (payload,)
    body: JsonObject = member if isinstance(member, dict) else {"error": member}
    error = body.get("error")
    fields: JsonObject = error if isinstance(error, dict) else body
    message = _text(fields.get("message"))
    if message is None:
        message = _text(error if error is not None and fields is not error else fields.get("detail"))
    return {
        "error_type": _text(fields.get("type")),
        "error_code": _text(fields.get("code")),
        "error_message": message,
        "error_param": _text(fields.get("param")),
        "error_raw": dumps(payload),
    }


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return storable(value) if isinstance(value, str) else dumps(value)


def _usage_columns(api: Api, read: _Read) -> UsageColumns:
    completion = read.response.completion
    usage = api.usage(completion)
    is_cumulative = read.response.usage_values > 1
    cost, cost_source = reported_cost(completion, read.response_headers)
    return {
        **api.token_counts(usage),
        "usage_raw": read.completion["usage_raw"],
        "usage_source": "absent" if usage is None else "reported_cumulative" if is_cumulative else "reported",
        "reported_cost": cost,
        "reported_cost_source": cost_source,
    }


def _time_columns(captured: CapturedExchange, response: ParsedResponse) -> TimeColumns:
    imported = captured.head.get("imported")
    # A file has no times of chunks.
    times = response.times if imported is None else {}
    return {
        "request_sent_us": _stage(captured, "request_sent_us"),
        "response_headers_us": _stage(captured, "response_headers_us"),
        "first_byte_us": captured.response[0][0] if captured.response and imported is None else None,
        "first_event_us": times.get("first_event_us"),
        "first_token_us": times.get("first_token_us"),
        "first_content_us": times.get("first_content_us"),
        "first_reasoning_us": times.get("first_reasoning_us"),
        "first_tool_call_us": times.get("first_tool_call_us"),
        "last_token_us": times.get("last_token_us"),
        "ended_us": _ended_us(captured),
        "event_offsets_us": response.event_offsets_us if response.streamed and imported is None else None,
        "event_sizes": response.event_sizes if response.streamed and not _is_put_together(imported) else None,
        "connect_us": _stage(captured, "connect_us"),
        "tls_us": _stage(captured, "tls_us"),
    }


def _is_put_together(imported: ImportNote | None) -> bool:
    """Whether an imported stream came as one completion, without its events."""
    return imported is not None and imported["stream"] is not None


def _stage(captured: CapturedExchange, stage: _Stage) -> int | None:
    for entry in (captured.answer, captured.ending):
        if entry is not None and stage in entry:
            return entry.get(stage)
    return None


def _ended_us(captured: CapturedExchange) -> int | None:
    if captured.ending is not None and "ended_us" in captured.ending:
        return captured.ending["ended_us"]
    return max((at_us for at_us, _ in (*captured.request, *captured.response)), default=None)


def _sizes(captured: CapturedExchange) -> tuple[int | None, int | None]:
    """Return the bytes of the bodies on the wire; a file may not hold them."""
    request_bytes: int | None = sum(len(data) for _, data in captured.request) + captured.request_skipped
    response_bytes: int | None = sum(len(data) for _, data in captured.response) + captured.response_skipped
    if (imported := captured.head.get("imported")) is not None:
        request_bytes = imported["bytes"].get("request_bytes", request_bytes)
        response_bytes = imported["bytes"].get("response_bytes", response_bytes)
    return request_bytes, response_bytes


def _headers(pairs: HeaderPairs) -> _Headers:
    return [(storable(name), storable(value)) for name, value in pairs]


def _named(headers: _Headers) -> list[Header]:
    return [{"name": name, "value": value} for name, value in headers]


def _header(headers: _Headers, name: str) -> str:
    return ", ".join(value for other, value in headers if other == name)
