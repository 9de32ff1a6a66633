-- How long answers took, in percentiles; streamed and not streamed apart.
--
-- by: model
-- Answers that came whole are measured, by the monotonic clock, from the moment the request's headers were read.
-- first byte: of the answer's body. first event: of a stream, whatever it says. first token: the first event with text
-- of any kind; first content (or refusal), first reasoning and first tool call: the first event with text of that kind.
-- total: until the last byte. connecting and TLS handshake: with the provider, of calls that opened the connection.
-- output tokens/s, call: completion tokens by the total time. output tokens/s, stream: completion tokens after the
-- first by the time from the first to the last one, where no hidden reasoning came before the first.
-- samples says of how many calls a measure is known. Pauses between events are in the report stalls.
-- chart: bar x=p50,p95 y=group_1 where="measure:first token (ms)" unit=ms title="Time to first token"
-- chart: bar x=p50,p95 y=group_1 where="measure:output tokens/s, stream" unit="tokens/s" title="Output tokens a second, while they stream"
WITH answers AS (
  SELECT
    *,
    CASE WHEN streamed THEN 'yes' ELSE 'no' END AS way,
    CASE
      WHEN coalesce(reasoning_tokens, 0) = 0 OR first_reasoning_us IS NOT NULL THEN completion_tokens
    END AS streamed_tokens
  FROM grouped
  WHERE outcome = 'complete'
),
amounts AS (
  SELECT
    group_time, group_1, group_2, way,
    first_byte_us / 1000.0 AS first_byte,
    CASE WHEN streamed THEN first_event_us / 1000.0 END AS first_event,
    CASE WHEN streamed THEN first_token_us / 1000.0 END AS first_token,
    CASE WHEN streamed THEN first_content_us / 1000.0 END AS first_content,
    CASE WHEN streamed THEN first_reasoning_us / 1000.0 END AS first_reasoning,
    CASE WHEN streamed THEN first_tool_call_us / 1000.0 END AS first_tool_call,
    ended_us / 1000.0 AS total,
    connect_us / 1000.0 AS connecting,
    tls_us / 1000.0 AS handshake,
    CASE WHEN ended_us > 0 THEN completion_tokens * 1000000.0 / ended_us END AS call_speed,
    CASE
      WHEN streamed AND last_token_us > first_token_us AND streamed_tokens > 1
      THEN (streamed_tokens - 1) * 1000000.0 / (last_token_us - first_token_us)
    END AS stream_speed
  FROM answers
),
measured AS (
  SELECT
    group_time, group_1, group_2, way,
    count(first_byte) AS first_byte_samples, percentiles(first_byte) AS first_byte,
    count(first_event) AS first_event_samples, percentiles(first_event) AS first_event,
    count(first_token) AS first_token_samples, percentiles(first_token) AS first_token,
    count(first_content) AS first_content_samples, percentiles(first_content) AS first_content,
    count(first_reasoning) AS first_reasoning_samples, percentiles(first_reasoning) AS first_reasoning,
    count(first_tool_call) AS first_tool_call_samples, percentiles(first_tool_call) AS first_tool_call,
    count(*) AS total_samples, percentiles(total) AS total,
    count(connecting) AS connecting_samples, percentiles(connecting) AS connecting,
    count(handshake) AS handshake_samples, percentiles(handshake) AS handshake,
    count(call_speed) AS call_speed_samples, percentiles(call_speed) AS call_speed,
    count(stream_speed) AS stream_speed_samples, percentiles(stream_speed) AS stream_speed
  FROM amounts
  GROUP BY group_time, group_1, group_2, way
),
measures AS (
  SELECT group_time, group_1, group_2, way, 1 AS rank, 'first byte (ms)' AS measure, first_byte_samples AS samples, first_byte AS amounts FROM measured
  UNION ALL
  SELECT group_time, group_1, group_2, way, 2, 'first event (ms)', first_event_samples, first_event FROM measured
  UNION ALL
  SELECT group_time, group_1, group_2, way, 3, 'first token (ms)', first_token_samples, first_token FROM measured
  UNION ALL
  SELECT group_time, group_1, group_2, way, 4, 'first content (ms)', first_content_samples, first_content FROM measured
  UNION ALL
  SELECT group_time, group_1, group_2, way, 5, 'first reasoning (ms)', first_reasoning_samples, first_reasoning FROM measured
  UNION ALL
  SELECT group_time, group_1, group_2, way, 6, 'first tool call (ms)', first_tool_call_samples, first_tool_call FROM measured
  UNION ALL
  SELECT group_time, group_1, group_2, way, 7, 'total (ms)', total_samples, total FROM measured
  UNION ALL
  SELECT group_time, group_1, group_2, way, 8, 'connecting (ms)', connecting_samples, connecting FROM measured
  UNION ALL
  SELECT group_time, group_1, group_2, way, 9, 'TLS handshake (ms)', handshake_samples, handshake FROM measured
  UNION ALL
  SELECT group_time, group_1, group_2, way, 10, 'output tokens/s, call', call_speed_samples, call_speed FROM measured
  UNION ALL
  SELECT group_time, group_1, group_2, way, 11, 'output tokens/s, stream', stream_speed_samples, stream_speed FROM measured
)
SELECT
  group_1,
  group_2,
  way AS streamed,
  measure,
  samples,
  p50_of(amounts) AS p50,
  p90_of(amounts) AS p90,
  p95_of(amounts) AS p95,
  p99_of(amounts) AS p99
FROM measures
WHERE samples > 0
ORDER BY group_time NULLS LAST, group_1 NULLS LAST, group_2 NULLS LAST, way, rank
