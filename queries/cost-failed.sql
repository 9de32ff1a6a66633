-- What calls cost that did not end well: failed, cut or aborted.
--
-- A call that was cut often reports no usage; it is counted here and has no cost, though it was billed perhaps.
-- share is of the cost of all calls to the provider's model.
WITH endings AS (
  SELECT
    outcome, provider, coalesce(model, response_model) AS model, status_code,
    count(*) AS calls,
    count(*) FILTER (WHERE usage_source = 'absent') AS without_usage,
    count(cost_usd) AS priced,
    sum(cost_usd) AS cost_usd,
    sum(reported_cost) AS reported_usd
  FROM exchanges
  GROUP BY outcome, provider, coalesce(model, response_model), status_code
),
shares AS (
  SELECT
    *,
    CAST(cost_usd AS DOUBLE)
      / nullif(CAST(sum(cost_usd) OVER (PARTITION BY provider, model) AS DOUBLE), 0) AS share
  FROM endings
)
SELECT
  outcome,
  provider,
  model,
  status_code AS status,
  calls,
  without_usage,
  priced,
  cost_usd,
  reported_usd,
  share
FROM shares
WHERE outcome <> 'complete'
ORDER BY cost_usd DESC NULLS LAST, calls DESC, outcome, provider, model NULLS LAST, status NULLS LAST
