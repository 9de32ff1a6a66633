-- Percentiles of how long answers took, by model, streamed and not streamed apart.
--
-- Answers that came whole are measured, by the monotonic clock, from the moment the request's headers were read.
-- time to first token: the first event with text of any kind (content, reasoning, tool call). inter-event gap: the pause
-- between two events, all pauses of all streams together. output tokens/s, call: completion tokens by the time of the
-- whole call. output tokens/s, stream: completion tokens after the first by the time from the first to the last one, where
-- no hidden reasoning came before the first.
WITH answers AS (
  SELECT coalesce(model, response_model) AS model, streamed, first_token_us, last_token_us, ended_us, completion_tokens,
    CASE
      WHEN coalesce(reasoning_tokens, 0) = 0 OR first_reasoning_us IS NOT NULL THEN completion_tokens
    END AS streamed_tokens
  FROM exchanges
  WHERE outcome = 'complete'
),
measures AS (
  SELECT model, streamed, 1 AS rank, 'time to first token (ms)' AS measure, first_token_us / 1000.0 AS amount
  FROM answers WHERE streamed
  UNION ALL
  SELECT model, streamed, 2, 'total time (ms)', ended_us / 1000.0 FROM answers
  UNION ALL
  SELECT model, TRUE, 3, 'inter-event gap (ms)', gap_us / 1000.0 FROM event_gaps
  UNION ALL
  SELECT model, streamed, 4, 'output tokens/s, call', completion_tokens * 1000000.0 / ended_us
  FROM answers WHERE ended_us > 0
  UNION ALL
  SELECT model, streamed, 5, 'output tokens/s, stream',
    (streamed_tokens - 1) * 1000000.0 / (last_token_us - first_token_us)
  FROM answers WHERE streamed AND last_token_us > first_token_us AND streamed_tokens > 1
)
SELECT
  model,
  CASE WHEN streamed THEN 'yes' ELSE 'no' END AS streamed,
  measure,
  count(*) AS samples,
  CAST(percentile_cont(0.50) WITHIN GROUP (ORDER BY amount) AS DOUBLE) AS p50,
  CAST(percentile_cont(0.90) WITHIN GROUP (ORDER BY amount) AS DOUBLE) AS p90,
  CAST(percentile_cont(0.95) WITHIN GROUP (ORDER BY amount) AS DOUBLE) AS p95,
  CAST(percentile_cont(0.99) WITHIN GROUP (ORDER BY amount) AS DOUBLE) AS p99
FROM measures
WHERE amount IS NOT NULL
GROUP BY model, streamed, rank, measure
ORDER BY model NULLS LAST, streamed, rank
