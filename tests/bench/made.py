"""Generates a dataset of any size with DuckDB: calls of agents and chats over a month, to a dozen models.

Conversations have 1 to 20 calls. Times to the first token have an exponential distribution; seven of ten responses are
streamed; three of a hundred calls fail or are cut. Everything follows from hashes of a call's number.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import duckdb

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory

DAYS = 28
FIRST_DAY = date(2026, 10, 1)
_CALLS = """
CREATE TABLE calls AS
SELECT row_number() OVER () - 1 AS i, c, turn
FROM (
  SELECT c, unnest(range([1, 1, 1, 2, 4, 8, 20][1 + CAST(hash(c) % 7 AS BIGINT)])) AS turn
  FROM range($first_conversation, $first_conversation + $conversations) t(c)
)
LIMIT $rows
"""
_PLACES = """
[['api.openai.com', 'openai', 'gpt-4o'], ['api.openai.com', 'openai', 'gpt-4o-mini'],
 ['api.openai.com', 'openai', 'o3'], ['api.openai.com', 'openai', 'gpt-5'],
 ['api.anthropic.com', 'anthropic', 'claude-sonnet-4-5'],
 ['generativelanguage.googleapis.com', 'google', 'gemini-2.5-pro'], ['api.deepseek.com', 'deepseek', 'deepseek-chat'],
 ['api.groq.com', 'groq', 'llama-3.3-70b-versatile'], ['openrouter.ai', 'openrouter', 'openai/gpt-4o-mini'],
 ['api.router402.xyz', 'router402', 'anthropic/claude-sonnet-4.5'], ['api.mistral.ai', 'mistral', 'mistral-large'],
 ['localhost', 'localhost:8000', 'nobody-knows']]
"""
_EXCHANGES = f"""
COPY (
  SELECT
    printf('%012x-0000-7000-8000-%012x', started_ms, i) AS exchange_id, 'bench' AS recorder_id, 'run-' || c % 7 AS run,
    make_timestamptz(started_ms * 1000) AS started_at, CAST(c % 997 AS VARCHAR) AS client_connection_id,
    'regular' AS mode, 'https' AS scheme, place[1] AS host, 443::BIGINT AS port, '/v1/chat/completions' AS path,
    'HTTP/2.0' AS http_version, place[2] AS provider, 'OpenAI/Python 3.0.0' AS user_agent,
    'key-' || c % 5 AS api_key_id, place[3] AS model, streamed AS stream,
    0.2::DOUBLE AS temperature, 1024::BIGINT AS max_tokens,
    'user-' || c % 200 AS "user", '{{"temperature": 0.2, "max_tokens": 1024}}' AS request_params,
    list_transform(range(2 * turn + 1), lambda j: md5(c || '-' || j)) AS message_ids,
    2 * turn + 1 AS message_count, 500 * (turn + 1) AS prompt_characters,
    md5('r' || c || '-' || turn) AS request_fingerprint, md5('m' || c || '-' || turn) AS messages_fingerprint,
    list_transform(range(turn), lambda j: CAST(hash(c, j) // 2 AS BIGINT)) AS history_keys,
    [CAST(hash(c, turn) // 2 AS BIGINT)] AS answer_keys,
    CASE WHEN luck < 10 THEN 429 WHEN luck < 15 THEN 500 ELSE 200 END::BIGINT AS status_code, streamed,
    'chatcmpl-' || md5(CAST(i AS VARCHAR)) AS response_id, place[3] AS response_model,
    'fp_' || c % 9 AS system_fingerprint,
    CASE WHEN luck >= 15 THEN [{{
      'index': 0::BIGINT, 'role': 'assistant',
      'content': array_to_string(list_transform(range(40), lambda w: 'w' || hash(i, w) % 2000), ' '),
      'refusal': NULL::VARCHAR, 'reasoning': NULL::VARCHAR,
      'finish_reason': CASE WHEN luck < 30 THEN NULL WHEN luck < 60 THEN 'length' WHEN luck < 200 THEN 'tool_calls'
        ELSE 'stop' END,
      'tool_calls': CASE WHEN luck BETWEEN 60 AND 199 THEN [{{
        'index': 0::BIGINT, 'id': 'call_' || i, 'type': 'function', 'name': 'tool_' || c % 20,
        'arguments': '{{"path": "' || i || '"}}' }}] END,
      'logprobs': NULL::VARCHAR, 'extra': NULL::VARCHAR
    }}] END AS choices,
    CASE WHEN luck < 10 THEN 'rate_limit_exceeded' WHEN luck < 15 THEN 'server_error' END AS error_type,
    CASE WHEN luck < 10 THEN 'rate_limit' END AS error_code,
    CASE WHEN luck < 15 THEN 'Try again later.' END AS error_message,
    NULL::VARCHAR AS outcome_detail, NULL::BIGINT AS first_reasoning_us, NULL::BIGINT AS first_tool_call_us,
    NULL::BIGINT AS tls_us, true AS content_kept,
    [{{'name': 'content-type', 'value': 'application/json'}}] AS request_headers,
    [{{'name': 'x-ratelimit-remaining-requests', 'value': CAST(i % 500 AS VARCHAR)}}] AS response_headers,
    prompt_tokens, completion_tokens, prompt_tokens + completion_tokens AS total_tokens,
    CASE WHEN luck >= 15 THEN prompt_tokens // 2 * (turn > 0)::INT END AS cached_tokens,
    CASE WHEN luck >= 15 AND c % 3 = 0 THEN completion_tokens // 4 END AS reasoning_tokens,
    CASE WHEN luck >= 15 THEN printf('{{"prompt_tokens":%d,"completion_tokens":%d}}', prompt_tokens, completion_tokens)
      END AS usage_raw,
    CASE WHEN luck >= 15 THEN 'reported' ELSE 'absent' END AS usage_source,
    first - 900 AS response_headers_us, first - 500 AS first_byte_us,
    CASE WHEN streamed THEN first - 500 END AS first_event_us,
    CASE WHEN streamed THEN first END AS first_token_us, CASE WHEN streamed THEN first END AS first_content_us,
    CASE WHEN streamed THEN first + events * gap END AS last_token_us, first + events * gap + 800 AS ended_us,
    CASE WHEN streamed
      THEN list_transform(range(events), lambda k: first + k * gap + CAST(hash(i, k) % gap AS BIGINT))
    END AS event_offsets_us,
    CASE WHEN streamed THEN list_transform(range(events), lambda k: 5::BIGINT) END AS event_sizes,
    CASE WHEN turn = 0 THEN 9000 + CAST(hash(c) % 20000 AS BIGINT) END AS connect_us,
    CASE WHEN luck < 15 THEN 'http_error' WHEN luck < 25 THEN 'client_aborted' WHEN luck < 30 THEN 'upstream_aborted'
      ELSE 'complete' END AS outcome,
    1000 * (turn + 1) AS request_bytes, 250 * events AS response_bytes, []::VARCHAR[] AS reassembly_problems,
    2::BIGINT AS schema_version
  FROM (
    SELECT
      *, CAST($day_ms + (i - $start) * $step_ms AS BIGINT) AS started_ms, hash(i, 'luck') % 1000 AS luck,
      {_PLACES}[1 + CAST(hash(i, 'place') % 12 AS BIGINT)] AS place, hash(i, 'stream') % 10 < 7 AS streamed,
      100 * (turn + 1) + CAST(hash(i) % 50 AS BIGINT) AS prompt_tokens,
      20 + CAST(hash(i, 't') % 380 AS BIGINT) AS completion_tokens,
      CAST(150000 - 400000 * ln((1 + hash(i, 'first') % 999999) / 1000000.0) AS BIGINT) AS first,
      20 + CAST(hash(i, 'n') % 40 AS BIGINT) AS events, 12000 + CAST(hash(i, 'gap') % 30000 AS BIGINT) AS gap
    FROM calls
    WHERE i >= $start AND i < $end
  )
) TO '{{path}}' (FORMAT parquet, COMPRESSION zstd)
"""
_CONTENT = """
COPY (
  SELECT
    md5(c || '-' || j) AS content_id, 'message' AS kind, CASE j % 2 WHEN 0 THEN 'user' ELSE 'assistant' END AS role,
    text, '{"role":"user","content":"' || text || '"}' AS json, length(text) + 28 AS bytes,
    make_timestamptz($day_ms * 1000) AS first_seen_at
  FROM (
    SELECT c, j, array_to_string(list_transform(range(30), lambda w: 'w' || hash(c, j, w) % 2000), ' ') AS text
    FROM (SELECT c, unnest(CASE turn WHEN 0 THEN [0] ELSE [2 * turn - 1, 2 * turn] END) AS j FROM calls
      WHERE i >= $start AND i < $end)
  )
) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""


def make(
    directory: DataDirectory, rows: int, *, with_content: bool, first_day: date = FIRST_DAY, days: int = DAYS
) -> None:
    """Write so many exchanges, one file a day, and their messages. Datasets with different first days can be joined."""
    connection = duckdb.connect()
    connection.execute(
        _CALLS, {"rows": rows, "conversations": rows, "first_conversation": (first_day - FIRST_DAY).days * 100_000_000}
    )
    for day in range(days):
        start, end = rows * day // days, rows * (day + 1) // days
        on = first_day + timedelta(days=day)
        values = {"start": start, "end": end, "day_ms": int((on - date(1970, 1, 1)).total_seconds()) * 1000}
        timing = {"step_ms": max(1, 80_000_000 // max(1, end - start))}
        _write(connection, directory, "exchanges", _EXCHANGES, on, values | timing)
        if with_content:
            _write(connection, directory, "content", _CONTENT, on, values)
    connection.close()


def _write(
    connection: duckdb.DuckDBPyConnection,
    directory: DataDirectory,
    name: str,
    sql: str,
    on: date,
    values: dict[str, int],
) -> None:
    folder: Path = directory.dataset(name) / f"date={on}"
    folder.mkdir(parents=True, exist_ok=True)
    # COPY takes no parameter for its target; the path is ours.
    connection.execute(sql.replace("{path}", str(folder / f"bench-{on:%Y%m%d}.parquet")), values)
