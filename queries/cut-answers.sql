-- Answers that were cut for length, and the limit that cut them.
--
-- limit is the request's max_completion_tokens, or its max_tokens; where it set none, the model's own. cut share is of
-- all choices asked for under that limit that came whole. completion tokens are the median of the calls with a cut
-- choice, of all their choices together.
-- chart: bar x=cut y=model title="Choices cut for length"
SELECT
  model,
  token_limit AS "limit",
  count(CASE WHEN finish_reason = 'length' THEN 1 END) AS cut,
  count(*) AS choices,
  CAST(count(CASE WHEN finish_reason = 'length' THEN 1 END) AS DOUBLE) / count(*) AS cut_share,
  CAST(percentile_cont(0.5) WITHIN GROUP (
    ORDER BY CASE WHEN finish_reason = 'length' THEN completion_tokens END
  ) AS DOUBLE) AS completion_tokens
FROM choices
WHERE outcome = 'complete'
GROUP BY model, token_limit
HAVING count(CASE WHEN finish_reason = 'length' THEN 1 END) > 0
ORDER BY cut DESC, model NULLS LAST, token_limit NULLS LAST
