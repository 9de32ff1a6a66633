"""The rows of `exchanges` as Python types, so that a misspelled column or a wrong type is found before it runs.

`dataset.schema` describes the same columns for files and engines; a test compares the two. They stand with the
APIs, which fill and read these rows and know nothing of files.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TypedDict, cast


class ToolCall(TypedDict):
    """One tool call of a choice; `arguments` is the text that the model wrote."""

    index: int | None
    id: str | None
    type: str | None
    name: str | None
    arguments: str | None


class Choice(TypedDict):
    """One choice of a completion; `logprobs` and `extra` are JSON text."""

    index: int | None
    role: str | None
    content: str | None
    refusal: str | None
    reasoning: str | None
    finish_reason: str | None
    tool_calls: list[ToolCall] | None
    logprobs: str | None
    extra: str | None


class Header(TypedDict):
    """One header of a request or a response; the name is in lower case."""

    name: str
    value: str


class OriginColumns(TypedDict):
    """Which exchange it is, and where it took place."""

    exchange_id: str
    recorder_id: str
    run: str
    started_at: datetime
    client_connection_id: str | None
    mode: str | None
    scheme: str
    host: str
    port: int
    path: str
    api: str | None
    http_version: str | None
    provider: str
    user_agent: str | None
    api_key_id: str | None


class RequestColumns(TypedDict):
    """What an API reads from a request."""

    model: str | None
    stream: bool | None
    n: int | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    max_completion_tokens: int | None
    seed: int | None
    reasoning_effort: str | None
    service_tier: str | None
    tool_choice: str | None
    response_format_type: str | None
    user: str | None
    include_usage: bool | None
    request_params: str | None
    request_text: str | None
    message_ids: list[str] | None
    tools_id: str | None
    functions_id: str | None
    message_count: int | None
    tool_count: int | None
    content_part_count: int | None
    content_part_types: list[str] | None
    payload_count: int | None
    prompt_characters: int | None
    request_fingerprint: str | None
    messages_fingerprint: str | None
    history_keys: list[int] | None


class CompletionColumns(TypedDict):
    """What an API reads from a completion; the completion can be rebuilt from these columns alone."""

    response_id: str | None
    response_model: str | None
    response_created: int | None
    system_fingerprint: str | None
    served_service_tier: str | None
    choices: list[Choice] | None
    response_extra: str | None
    usage_raw: str | None


class ErrorColumns(TypedDict):
    """The error that a provider reported."""

    error_type: str | None
    error_code: str | None
    error_message: str | None
    error_param: str | None
    error_raw: str | None


class ResponseColumns(TypedDict):
    """What came back. Most of `CompletionColumns` and all of `ErrorColumns` are among these, in the schema's order."""

    answer_keys: list[int] | None
    status_code: int | None
    streamed: bool | None
    response_id: str | None
    response_model: str | None
    response_created: int | None
    system_fingerprint: str | None
    served_service_tier: str | None
    choices: list[Choice] | None
    response_extra: str | None
    response_text: str | None
    error_type: str | None
    error_code: str | None
    error_message: str | None
    error_param: str | None
    error_raw: str | None
    request_redactions: int | None
    response_redactions: int | None
    content_kept: bool | None
    request_headers: list[Header] | None
    response_headers: list[Header] | None


class TokenColumns(TypedDict):
    """What an API reads from the usage of a completion."""

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    prompt_audio_tokens: int | None
    completion_audio_tokens: int | None
    accepted_prediction_tokens: int | None
    rejected_prediction_tokens: int | None


class UsageColumns(TokenColumns):
    """What the provider reported of tokens and money."""

    usage_raw: str | None
    usage_source: str
    reported_cost: Decimal | None
    reported_cost_source: str | None


class TimeColumns(TypedDict):
    """When each stage was reached, in microseconds since `started_at`."""

    request_sent_us: int | None
    response_headers_us: int | None
    first_byte_us: int | None
    first_event_us: int | None
    first_token_us: int | None
    first_content_us: int | None
    first_reasoning_us: int | None
    first_tool_call_us: int | None
    last_token_us: int | None
    ended_us: int | None
    event_offsets_us: list[int] | None
    event_sizes: list[int] | None
    connect_us: int | None
    tls_us: int | None


class ExchangeRow(OriginColumns, RequestColumns, ResponseColumns, UsageColumns, TimeColumns):
    """One row of `exchanges`."""

    outcome: str
    outcome_detail: str | None
    request_bytes: int | None
    response_bytes: int | None
    reassembly_problems: list[str] | None
    schema_version: int


class LinkColumns(TypedDict):
    """What loading adds to a row: its place in a conversation."""

    parent_exchange_id: str | None
    conversation_id: str
    repeated_prefix_messages: int | None
    repeated_prefix_characters: int | None


class CostColumns(TypedDict):
    """What prices add to a row; all NULL where a query does not ask for costs."""

    cost_usd: Decimal | None
    cost_status: str | None
    cost_note: str | None
    known_cost_usd: Decimal | None
    input_cost_usd: Decimal | None
    cached_cost_usd: Decimal | None
    cache_write_cost_usd: Decimal | None
    output_cost_usd: Decimal | None
    other_cost_usd: Decimal | None
    input_token_usd: Decimal | None
    cached_token_usd: Decimal | None
    cache_write_token_usd: Decimal | None
    output_token_usd: Decimal | None
    price_source: str | None
    price_version: str | None
    price_digest: str | None
    price_name: str | None
    what_if_cost_usd: Decimal | None


class WarehouseRow(ExchangeRow, LinkColumns, CostColumns):
    """One row of the warehouse's view of `exchanges`."""


def all_null[Row](row_type: type[Row]) -> Row:
    """Return a row of this type with NULL in every column; the caller fills those that may not be NULL."""
    return cast(Row, dict.fromkeys(row_type.__annotations__))
