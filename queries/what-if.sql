-- What the same tokens would have cost on another model, which --model names.
--
-- by: model
-- An estimate: another model counts other tokens in the same text and gives longer or shorter answers. Its standard
-- prices are taken, of the time of each call; cached tokens cost as any input where it has no price for them.
-- what if is of `compared` calls, whose tokens were reported; difference is what if less cost, of those that have both.
SELECT
  group_1,
  group_2,
  count(*) AS calls,
  count(cost_usd) AS priced,
  sum(cost_usd) AS cost_usd,
  count(what_if_cost_usd) AS compared,
  sum(what_if_cost_usd) AS what_if_usd,
  sum(what_if_cost_usd - cost_usd) AS difference_usd
FROM grouped
GROUP BY group_time, group_1, group_2
ORDER BY group_time, cost_usd DESC NULLS LAST, group_1 NULLS LAST, group_2 NULLS LAST
