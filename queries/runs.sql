-- The recordings: when each began and ended, and what it holds.
SELECT
  run,
  count(DISTINCT recorder_id) AS recorders,
  min(started_at) AS first_at,
  max(started_at) AS last_at,
  count(*) AS calls,
  count(*) FILTER (WHERE outcome = 'complete') AS complete,
  count(DISTINCT coalesce(model, response_model)) AS models,
  sum(total_tokens) AS total_tokens
FROM exchanges
GROUP BY run
ORDER BY first_at, run
