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
measures AS (
  SELECT group_time, group_1, group_2, way, 1 AS rank, 'first byte (ms)' AS measure, first_byte_us / 1000.0 AS amount
  FROM answers WHERE first_byte_us IS NOT NULL
  UNION ALL
  SELECT group_time, group_1, group_2, way, 2, 'first event (ms)', first_event_us / 1000.0
  FROM answers WHERE streamed AND first_event_us IS NOT NULL
  UNION ALL
  SELECT group_time, group_1, group_2, way, 3, 'first token (ms)', first_token_us / 1000.0
  FROM answers WHERE streamed AND first_token_us IS NOT NULL
  UNION ALL
  SELECT group_time, group_1, group_2, way, 4, 'first content (ms)', first_content_us / 1000.0
  FROM answers WHERE streamed AND first_content_us IS NOT NULL
  UNION ALL
  SELECT group_time, group_1, group_2, way, 5, 'first reasoning (ms)', first_reasoning_us / 1000.0
  FROM answers WHERE streamed AND first_reasoning_us IS NOT NULL
  UNION ALL
  SELECT group_time, group_1, group_2, way, 6, 'first tool call (ms)', first_tool_call_us / 1000.0
  FROM answers WHERE streamed AND first_tool_call_us IS NOT NULL
  UNION ALL
  SELECT group_time, group_1, group_2, way, 7, 'total (ms)', ended_us / 1000.0
  FROM answers
  UNION ALL
  SELECT group_time, group_1, group_2, way, 8, 'connecting (ms)', connect_us / 1000.0
  FROM answers WHERE connect_us IS NOT NULL
  UNION ALL
  SELECT group_time, group_1, group_2, way, 9, 'TLS handshake (ms)', tls_us / 1000.0
  FROM answers WHERE tls_us IS NOT NULL
  UNION ALL
  SELECT group_time, group_1, group_2, way, 10, 'output tokens/s, call', completion_tokens * 1000000.0 / ended_us
  FROM answers WHERE ended_us > 0 AND completion_tokens IS NOT NULL
  UNION ALL
  SELECT group_time, group_1, group_2, way, 11, 'output tokens/s, stream',
    (streamed_tokens - 1) * 1000000.0 / (last_token_us - first_token_us)
  FROM answers WHERE streamed AND last_token_us > first_token_us AND streamed_tokens > 1
)
SELECT
  group_1,
  group_2,
  way AS streamed,
  measure,
  count(*) AS samples,
  CAST(percentile_cont(0.50) WITHIN GROUP (ORDER BY amount) AS DOUBLE) AS p50,
  CAST(percentile_cont(0.90) WITHIN GROUP (ORDER BY amount) AS DOUBLE) AS p90,
  CAST(percentile_cont(0.95) WITHIN GROUP (ORDER BY amount) AS DOUBLE) AS p95,
  CAST(percentile_cont(0.99) WITHIN GROUP (ORDER BY amount) AS DOUBLE) AS p99
FROM measures
GROUP BY group_time, group_1, group_2, way, rank, measure
ORDER BY group_time NULLS LAST, group_1 NULLS LAST, group_2 NULLS LAST, way, rank
