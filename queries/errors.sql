-- Calls that did not end well, by outcome, status and the provider's error type.
--
-- share is of all calls to that provider and model. message is one of the messages that came.
-- chart: bar x=calls y=outcome color=provider title="Calls that did not end well"
WITH calls AS (
  SELECT
    provider, coalesce(model, response_model) AS model, outcome, status_code, error_type, error_code,
    coalesce(error_message, outcome_detail) AS message, started_at,
    count(*) OVER (PARTITION BY provider, coalesce(model, response_model)) AS all_calls
  FROM exchanges
)
SELECT
  provider,
  model,
  outcome,
  status_code AS status,
  error_type,
  error_code,
  count(*) AS calls,
  CAST(count(*) AS DOUBLE) / max(all_calls) AS share,
  max(started_at) AS last_at,
  max(message) AS message
FROM calls
WHERE outcome <> 'complete'
GROUP BY provider, model, outcome, status_code, error_type, error_code
ORDER BY calls DESC, provider, model NULLS LAST, outcome, status NULLS LAST, error_type NULLS LAST, error_code NULLS LAST
