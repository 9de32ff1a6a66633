-- What providers say that calls cost, beside what comes out here.
--
-- Of the calls of which a provider says so, `compared` have a cost here, too, and both sums are of those. difference is
-- ours less theirs; `apart` counts calls that differ by more than one per cent. Where a provider tells not the money but
-- the tokens that it bills (extra_fields.billed_usage), these count at the prices that hold here.
WITH calls AS (
  SELECT
    provider, model, source, cost_usd, reported_usd,
    CASE WHEN cost_usd IS NOT NULL THEN reported_usd END AS comparable,
    CASE WHEN reported_usd IS NOT NULL THEN cost_usd END AS compared,
    cost_usd - reported_usd AS difference
  FROM reported_costs
)
SELECT
  provider,
  model,
  source,
  count(*) AS calls,
  count(difference) AS compared,
  sum(comparable) AS reported_usd,
  sum(compared) AS cost_usd,
  sum(difference) AS difference_usd,
  CAST(sum(difference) AS DOUBLE) / nullif(CAST(sum(comparable) AS DOUBLE), 0) AS difference_share,
  max(abs(difference)) AS largest_difference_usd,
  count(*) FILTER (WHERE abs(difference) * 100 > reported_usd) AS apart
FROM calls
GROUP BY provider, model, source
ORDER BY max(abs(difference)) DESC NULLS LAST, provider, model NULLS LAST, source
