-- What calls cost, by day and model; with --by by anything else.
--
-- by: day, model
-- A cost is the call's tokens at the prices of its time; calls that are not priced as a whole are in none of the sums,
-- and `priced` says how many are. input, cached, cache write, output and other add up to cost: prompt tokens that
-- were read from no cache, read from one, and written to one; completion tokens; and what is charged beside tokens.
-- reported is what providers said themselves, of the calls for which they did. --prices-as-of prices all calls as if
-- they were made on another day.
-- chart: bar x=group_1 y=cost_usd color=group_2 title="Cost"
SELECT
  group_1,
  group_2,
  count(*) AS calls,
  count(cost_usd) AS priced,
  sum(cost_usd) AS cost_usd,
  sum(CASE WHEN cost_status = 'priced' THEN input_cost_usd END) AS input_usd,
  sum(CASE WHEN cost_status = 'priced' THEN cached_cost_usd END) AS cached_usd,
  sum(CASE WHEN cost_status = 'priced' THEN cache_write_cost_usd END) AS cache_write_usd,
  sum(CASE WHEN cost_status = 'priced' THEN output_cost_usd END) AS output_usd,
  sum(CASE WHEN cost_status = 'priced' THEN other_cost_usd END) AS other_usd,
  sum(reported_cost) AS reported_usd
FROM grouped
GROUP BY group_time, group_1, group_2
ORDER BY group_time, cost_usd DESC NULLS LAST, group_1 NULLS LAST, group_2 NULLS LAST
