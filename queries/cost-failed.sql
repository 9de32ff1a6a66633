-- What calls cost that did not end well: failed, cut or aborted.
--
-- A call that was cut often reports no usage; it is counted here and has no cost, though it was billed perhaps.
-- share is of the cost of all calls to the provider's model.
WITH calls AS (
  SELECT
    provider, coalesce(model, response_model) AS model, outcome, status_code, usage_source, cost_usd, reported_cost,
    sum(cost_usd) OVER (PARTITION BY provider, coalesce(model, response_model)) AS cost_of_all
  FROM exchanges
)
SELECT
  outcome,
  provider,
  model,
  status_code AS status,
  count(*) AS calls,
  count(*) FILTER (WHERE usage_source = 'absent') AS without_usage,
  count(cost_usd) AS priced,
  sum(cost_usd) AS cost_usd,
  sum(reported_cost) AS reported_usd,
  CAST(sum(cost_usd) AS DOUBLE) / nullif(CAST(max(cost_of_all) AS DOUBLE), 0) AS share
FROM calls
WHERE outcome <> 'complete'
GROUP BY outcome, provider, model, status_code
ORDER BY cost_usd DESC NULLS LAST, calls DESC, outcome, provider, model NULLS LAST, status NULLS LAST
