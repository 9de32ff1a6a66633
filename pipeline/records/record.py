"""Turns what a journal holds of one exchange into its row in `exchanges` and its rows for `content`.

This is where bytes become a record: the request is read, the answer reassembled, and the end judged. It reads no
file and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from ..apis.base import Api, Content, ParsedRequest, ParsedResponse
from ..apis.body_reader import MAX_PROBLEMS, read_response
from ..apis.providers import provider_of
from ..apis.registry import api_for_path
from ..apis.usage import reported_cost
from ..dataset.schema import EXCHANGES, SCHEMA_VERSION
from ..wire.base64_payloads import body_text
from ..wire.json_text import JsonObject, dumps, storable
from ..wire.redaction import Credential, Redactor
from .captured import CapturedExchange
from .outcome import cuts_by_limit, judge

_TIMES = ("request_sent_us", "response_headers_us", "connect_us", "tls_us")
_ERROR_COLUMNS = ("type", "code", "message", "param")
#: What is not known of an exchange whose chunks came without their times.
_UNTIMED = (
    "first_byte_us",
    "first_event_us",
    "first_token_us",
    "first_content_us",
    "first_reasoning_us",
    "first_tool_call_us",
    "last_token_us",
    "event_offsets_us",
)


@dataclass(frozen=True)
class Record:
    """One exchange as the dataset has it."""

    row: JsonObject
    contents: tuple[Content, ...]


def make_record(captured: CapturedExchange, recorder_id: str, redactor: Redactor | None = None) -> Record:
    """Read the exchange's bytes, with a redactor less the credentials in them; never raises for what they hold."""
    head, answered = captured.head, captured.answer or {}
    request_headers = _headers(head["headers"])
    response_headers = _headers(answered.get("headers", []))
    imported = head.get("imported", {})
    coding = "" if imported.get("decoded") else "content-encoding"
    body = b"".join(data for _, data in captured.request)
    counts = [redactor.count if redactor else 0]
    api = api_for_path(head["path"])
    request = api.read_request(body, _header(request_headers, coding), redactor)
    response = read_response(
        api,
        captured.response,
        content_type=_header(response_headers, "content-type"),
        content_encoding=_header(response_headers, coding),
    )
    if (stream := imported.get("stream")) is not None:
        # A stream that somebody has put together says neither how it was cut nor whether it was.
        response.streamed, response.done = True, stream == "whole"
    if redactor is not None:
        counts.append(redactor.count)
        _redact(response, redactor, _credentials(head))
        counts.append(redactor.count)
    row: JsonObject = dict.fromkeys(column.name for column in EXCHANGES.columns)
    row |= _identity(captured, recorder_id, api)
    row |= _redactions(captured, counts)
    row |= request.columns
    row |= api.flatten(response.completion)
    row["answer_keys"] = api.answer_keys(request, response.completion)
    row |= _answer_columns(response, answered) | _error_columns(response.error) | _usage_columns(api, response)
    row["reported_cost"], row["reported_cost_source"] = reported_cost(response.completion, response_headers)
    row["reassembly_problems"] = _told(request, response)
    row["request_headers"], row["response_headers"] = _named(request_headers), _named(response_headers)
    row["user_agent"] = _header(request_headers, "user-agent") or None
    row |= _times(captured, response)
    row["outcome"], detail = judge(captured, response)
    cuts = cuts_by_limit(captured)
    row["outcome_detail"] = storable("; ".join(filter(None, (*cuts, detail)))) or None
    row["reassembly_problems"] = [*cuts, *row["reassembly_problems"]]
    row["request_bytes"] = len(body) + captured.request_skipped
    row["response_bytes"] = sum(len(data) for _, data in captured.response) + captured.response_skipped
    if imported:
        row |= dict.fromkeys(_UNTIMED) | imported["bytes"]
        row["event_sizes"] = None if stream is not None else row["event_sizes"]
    return Record(row, request.contents)


def unread_record(
    captured: CapturedExchange, recorder_id: str, problem: str, redactor: Redactor | None = None
) -> Record:
    """The exchange as the bytes it is, for when reading them failed."""
    row: JsonObject = dict.fromkeys(column.name for column in EXCHANGES.columns)
    row |= _identity(captured, recorder_id, api_for_path(captured.head["path"]))
    row["status_code"] = (captured.answer or {}).get("status_code")
    for part, chunks in (("request", captured.request), ("response", captured.response)):
        text = body_text(b"".join(data for _, data in chunks))
        row[f"{part}_text"] = (redactor.text(text) if redactor else text) or None
    row["usage_source"], row["outcome"], row["outcome_detail"] = "absent", "invalid", storable(problem)
    row["reassembly_problems"] = [storable(problem)]
    return Record(row, ())


def _redact(answer: ParsedResponse, redactor: Redactor, credentials: tuple[Credential, ...]) -> None:
    """Replace credentials of known formats, and, in errors, which like to repeat them, those the request came with."""
    answer.completion = redactor.value(answer.completion)
    answer.error = redactor.without(redactor.value(answer.error), credentials)
    answer.problems = redactor.without([redactor.text(problem) for problem in answer.problems], credentials)
    if answer.text is not None:
        answer.text = redactor.without(redactor.text(answer.text), credentials)


def _redactions(captured: CapturedExchange, counts: list[int]) -> JsonObject:
    """How many credentials were replaced: those that the recorder masked, and those that were found since."""
    masked = [(captured.ending or {}).get(f"{part}_masked") for part in ("request", "response")]
    found: list[int | None] = (
        [after - before for before, after in pairwise(counts)] if len(counts) > 1 else [None, None]
    )
    in_request, in_response = (
        None if by_recorder is None and since is None else (by_recorder or 0) + (since or 0)
        for by_recorder, since in zip(masked, found, strict=True)
    )
    return {"request_redactions": in_request, "response_redactions": in_response}


def _credentials(head: JsonObject) -> tuple[Credential, ...]:
    return tuple(Credential(length, hashed) for length, hashed in head.get("credentials", []))


def _identity(captured: CapturedExchange, recorder_id: str, api: Api) -> JsonObject:
    head = captured.head
    names = ("run", "mode", "scheme", "host", "port", "path", "http_version", "api_key_id")
    return {
        "exchange_id": captured.exchange_id,
        "recorder_id": recorder_id,
        "schema_version": SCHEMA_VERSION,
        "content_kept": True,
        "started_at": datetime.fromtimestamp(head["started_at_us"] // 1_000_000, UTC).replace(
            microsecond=head["started_at_us"] % 1_000_000
        ),
        "client_connection_id": head.get("client_connection_id"),
        "api": api.name,
        "provider": provider_of(head["scheme"], storable(head["host"]), head["port"]),
        **{name: storable(head[name]) if isinstance(head[name], str) else head[name] for name in names},
    }


def _answer_columns(answer: ParsedResponse, answered: JsonObject) -> JsonObject:
    return {
        "status_code": answered.get("status_code"),
        "streamed": answer.streamed if answered else None,
        "response_text": answer.text,
        "event_offsets_us": answer.event_offsets_us if answer.streamed else None,
        "event_sizes": answer.event_sizes if answer.streamed else None,
    }


def _told(question: ParsedRequest, answer: ParsedResponse) -> list[str]:
    problems = [f"request: {question.problem}"] if question.problem is not None else []
    problems += answer.problems
    rest = len(problems) - MAX_PROBLEMS + answer.more_problems
    return [storable(problem) for problem in problems[:MAX_PROBLEMS]] + ([f"{rest} more problems"] if rest > 0 else [])


def _error_columns(payload: Any) -> JsonObject:
    if payload is None:
        return {}
    columns: JsonObject = {"error_raw": dumps(payload)}
    if isinstance(payload, list) and len(payload) == 1:
        payload = payload[0]
    body: JsonObject = payload if isinstance(payload, dict) else {"error": payload}
    error = body.get("error")
    said: JsonObject = error if isinstance(error, dict) else body
    for name in _ERROR_COLUMNS:
        columns[f"error_{name}"] = _text(said.get(name))
    if columns["error_message"] is None:
        columns["error_message"] = _text(error if error is not None and said is not error else said.get("detail"))
    return columns


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return storable(value) if isinstance(value, str) else dumps(value)


def _usage_columns(api: Api, response: ParsedResponse) -> JsonObject:
    usage = api.usage(response.completion)
    cumulative = response.usage_values > 1
    source = "absent" if usage is None else "reported_cumulative" if cumulative else "reported"
    return {**api.token_counts(usage), "usage_source": source}


def _times(captured: CapturedExchange, answer: ParsedResponse) -> JsonObject:
    noted = (captured.ending or {}) | (captured.answer or {})
    times: JsonObject = {name: noted.get(name) for name in _TIMES}
    times |= answer.times
    times["first_byte_us"] = captured.response[0][0] if captured.response else None
    seen = [at_us for at_us, _ in (*captured.request, *captured.response)]
    times["ended_us"] = noted.get("ended_us", max(seen, default=None))
    return times


def _headers(pairs: list[Any]) -> list[tuple[str, str]]:
    return [(storable(name), storable(value)) for name, value in pairs]


def _named(headers: list[tuple[str, str]]) -> list[JsonObject]:
    return [{"name": name, "value": value} for name, value in headers]


def _header(headers: list[tuple[str, str]], name: str) -> str:
    return ", ".join(value for other, value in headers if other == name)
