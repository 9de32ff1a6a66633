"""The datasets' columns, from which the Parquet schema, the warehouse and the documentation are made.

A change here raises `SCHEMA_VERSION` and adds a line to its history. A struct never changes once it is released,
because engines do not agree on how to read files whose structs differ; new columns are added at the top level.
"""

from __future__ import annotations

from dataclasses import dataclass

# Version 1: first form.
# Version 2: client_connection_id, history_keys, answer_keys, request_redactions, response_redactions, content_kept.
# Version 3: `json` of `content` is NULL where role and text are all of a message.
# Version 4: api.
SCHEMA_VERSION = 4


@dataclass(frozen=True)
class Column:
    """A column: its kind (a key of `parquet.PARQUET_TYPES`), and a sentence that describes it."""

    name: str
    kind: str
    description: str


@dataclass(frozen=True)
class Dataset:
    """A folder of Parquet files that share a schema; `row` says what one row is."""

    name: str
    row: str
    columns: tuple[Column, ...]


def _columns(*rows: str) -> tuple[Column, ...]:
    return tuple(Column(*(part.strip() for part in row.split("|", 2))) for row in rows)


EXCHANGES = Dataset(
    "exchanges",
    "one request and its answer",
    _columns(
        "exchange_id | text | UUID of version 7: sorts by start",
        "recorder_id | text | The recorder that saw it; one a start of mitmproxy",
        "run | text | Label given at recording",
        # Where.
        "started_at | time | When the request's headers were read, UTC",
        "client_connection_id | text | The client's connection: the same for calls that went over one",
        "mode | text | mitmproxy's mode: regular, reverse, transparent, upstream, ...",
        "scheme | text | http or https, as the provider was asked",
        "host | text | Host asked for",
        "port | integer | Port asked for",
        "path | text | Path asked for; of its query only `api-version`",
        "api | text | API as which the bodies are read: chat_completions; NULL, which means the same, before version 4",
        "http_version | text | Protocol the client spoke",
        "provider | text | Name by the table of hosts, else the host itself",
        "user_agent | text | The client's `user-agent`",
        "api_key_id | text | Keyed fingerprint of the key; NULL without one",
        # Request.
        "model | text | Model asked for",
        "stream | flag | `stream` as asked; NULL if not said",
        "n | integer | Choices asked for",
        "temperature | number | As asked",
        "top_p | number | As asked",
        "max_tokens | integer | As asked",
        "max_completion_tokens | integer | As asked",
        "seed | integer | As asked",
        "reasoning_effort | text | As asked",
        "service_tier | text | As asked; what was served is `served_service_tier`",
        "tool_choice | text | As asked; JSON where it is an object",
        "response_format_type | text | `response_format.type`",
        "user | text | End user named by the client",
        "include_usage | flag | `stream_options.include_usage`",
        "request_params | text | JSON: every top-level field that is no list of messages, tools or functions",
        "request_text | text | The body where it is no JSON object; base64 where it is no UTF-8",
        "message_ids | texts | `content_id` of each message, in order",
        "tools_id | text | `content_id` of `tools`",
        "functions_id | text | `content_id` of the legacy `functions`",
        "message_count | integer | Messages sent",
        "tool_count | integer | Tools and functions offered",
        "content_part_count | integer | Typed parts in all messages; text given as a plain string is none",
        "content_part_types | texts | Their types, each once, sorted",
        "payload_count | integer | Images, recordings and files sent as base64 text in the messages",
        "prompt_characters | integer | Characters of text in all messages",
        "request_fingerprint | text | Hash of the whole request less the volatile fields",
        "messages_fingerprint | text | Hash of the messages alone",
        "history_keys | integers | A hash of all that was said up to each answer among the messages",
        "answer_keys | integers | The same of the messages and each answer that they got",
        # Response.
        "status_code | integer | HTTP status; NULL if no answer came",
        "streamed | flag | The answer was an event stream",
        "response_id | text | `id`",
        "response_model | text | `model` that answered",
        "response_created | integer | `created`, seconds since 1970",
        "system_fingerprint | text | As answered",
        "served_service_tier | text | `service_tier` as answered",
        "choices | choices | The choices, reassembled",
        "response_extra | text | JSON: every other top-level field of the answer",
        "response_text | text | The body where it is neither completion nor error; base64 where it is no UTF-8",
        "error_type | text | `error.type`",
        "error_code | text | `error.code`",
        "error_message | text | `error.message`",
        "error_param | text | `error.param`",
        "error_raw | text | JSON: the error as it came",
        "request_redactions | integer | Credentials in the body that names now stand for; NULL if not looked for",
        "response_redactions | integer | The same of the answer",
        "content_kept | flag | False if the recording was to keep no text: then texts are missing",
        "request_headers | headers | The allow-listed ones",
        "response_headers | headers | The allow-listed ones",
        # Usage.
        "prompt_tokens | integer | As reported, cached ones included where the provider counts so",
        "completion_tokens | integer | As reported, reasoning included where the provider counts so",
        "total_tokens | integer | As reported",
        "cached_tokens | integer | Prompt tokens read from a cache",
        "cache_write_tokens | integer | Prompt tokens written to a cache",
        "reasoning_tokens | integer | Completion tokens spent on reasoning",
        "prompt_audio_tokens | integer | As reported",
        "completion_audio_tokens | integer | As reported",
        "accepted_prediction_tokens | integer | As reported",
        "rejected_prediction_tokens | integer | As reported",
        "usage_raw | text | JSON: `usage` as it came",
        "usage_source | text | reported; reported_cumulative (counts grew from event to event); absent",
        "reported_cost | money | What the provider says that it cost, US dollars",
        "reported_cost_source | text | Where it says so",
        # Time, microseconds since `started_at` by the monotonic clock.
        "request_sent_us | integer | The request's last byte was read from the client",
        "response_headers_us | integer | The response's headers were read",
        "first_byte_us | integer | First byte of the response's body",
        "first_event_us | integer | First event of the stream",
        "first_token_us | integer | First event with text of any kind",
        "first_content_us | integer | First event with content or refusal",
        "first_reasoning_us | integer | First event with reasoning",
        "first_tool_call_us | integer | First event with part of a tool call",
        "last_token_us | integer | Last event with text of any kind",
        "ended_us | integer | The exchange ended; the last thing seen of it if the recorder was killed",
        "event_offsets_us | integers | When each event came",
        "event_sizes | integers | Characters of text that each event brought",
        "connect_us | integer | Connecting to the provider took; NULL if the connection was there",
        "tls_us | integer | The TLS handshake with the provider took; NULL if the connection was there",
        # End.
        "outcome | text | How it ended: see the list of outcomes",
        "outcome_detail | text | What is known of why",
        "request_bytes | integer | Body bytes the client sent, as they were on the wire, kept or not",
        "response_bytes | integer | Body bytes the client was sent, as they were on the wire, kept or not",
        "reassembly_problems | texts | What could not be read, or was over a limit; empty if nothing was lost",
        "schema_version | integer | Version of this list that wrote the row",
    ),
)

#: Columns that only the warehouse's `exchanges` has: the parent of an exchange may be in another recording, or come
#: later.
LINKS = _columns(
    "parent_exchange_id | text | The exchange this one goes on from: its messages and its answer are where these begin",
    "conversation_id | text | The first of all exchanges that go on from one another, itself if there is none before",
    "repeated_prefix_messages | integer | Leading messages that the parent had sent, too",
    "repeated_prefix_characters | integer | Characters of text in them",
)

#: Columns that only the view `exchanges` has: costs follow from prices, which may change.
COSTS = _columns(
    "cost_usd | money | What the call cost, US dollars; NULL unless all of it is known",
    "cost_status | text | priced; partial (some tokens have no known price); unpriced; invalid_usage (cannot be so)",
    "cost_note | text | Why there is no cost or a part of it, or what to know of the price",
    "known_cost_usd | money | As much of the cost as is known: a partial call cost at least this",
    "input_cost_usd | money | Of that, prompt tokens neither read from a cache nor written to it",
    "cached_cost_usd | money | Of that, prompt tokens read from a cache",
    "cache_write_cost_usd | money | Of that, prompt tokens written to a cache",
    "output_cost_usd | money | Of that, completion tokens, reasoning included",
    "other_cost_usd | money | Of that, what is charged for the call itself, for searches and citations",
    "input_token_usd | rate | Price of one prompt token at the time",
    "cached_token_usd | rate | Price of one prompt token read from a cache",
    "cache_write_token_usd | rate | Price of one prompt token written to a cache",
    "output_token_usd | rate | Price of one completion token",
    "price_source | text | Where the prices come from: prices.toml, genai-prices or LiteLLM's map",
    "price_version | text | Version of genai-prices, or a hash of the file",
    "price_digest | text | A hash of the prices themselves",
    "price_name | text | The entry that held, and what was added to it",
    "what_if_cost_usd | money | What it would have cost on the other model of the report what-if; NULL elsewhere",
)

CONTENT = Dataset(
    "content",
    "one JSON value that requests repeat: a message, a list of tools, or the payload of a message",
    _columns(
        "content_id | text | Hash of the canonical JSON",
        "kind | text | message, tools, functions, or payload: the base64 text of an image, a recording or a file",
        "role | text | A message's role",
        "text | text | Its plain text, for search; the first million characters",
        'json | text | The value as it was sent; in a message `{"$tapeline_payload": id}` stands for a payload. '
        'In files NULL where the message is `{"role": role, "content": text}`',
        "bytes | integer | Length of `json` in UTF-8",
        "media_type | text | Of a payload, where the message says it",
        "payload_bytes | integer | Of a payload: bytes that the base64 text stands for",
        "first_seen_at | time | Start of the first exchange of this recorder that sent it",
    ),
)

LOSSES = Dataset(
    "losses",
    "one fault that left something unrecorded",
    _columns(
        "loss_id | text | The recorder's id and a number",
        "recorder_id | text | The recorder that counted it",
        "run | text | Label given at recording",
        "at | time | When it was counted, UTC",
        "reason | text | What went wrong",
        "exchanges | integer | Exchanges that are not recorded, or not wholly",
        "bytes | integer | Body bytes given up, where known",
    ),
)

DATASETS = {dataset.name: dataset for dataset in (EXCHANGES, CONTENT, LOSSES)}

#: How an exchange can end.
OUTCOMES = {
    "complete": "the answer came whole",
    "http_error": "the status was not 2xx",
    "stream_error": "an error came inside an answer of status 200",
    "truncated": "the answer ended in order, with neither `[DONE]` nor a finish reason, or went on over the limit",
    "invalid": "no chat completion could be read",
    "client_aborted": "the client hung up",
    "upstream_aborted": "the provider hung up",
    "unreachable": "the provider could not be reached",
    "recorder_stopped": "the recorder stopped while the exchange ran",
}
