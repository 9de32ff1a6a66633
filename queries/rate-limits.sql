-- Calls that were turned away to be tried again, what became of them, and how near the limits are.
--
-- by: provider, model
-- limited: status 429; overloaded: 503 or 529. told to wait: those with a Retry-After, of which the median and the
-- longest are given. retried: the same request was sent again in the same run; too early: before the wait was over;
-- came through: one of the later ones was answered. least left requests and tokens are the lowest that any answer's
-- rate-limit headers told (x-ratelimit-remaining-..., anthropic-ratelimit-...-remaining, ratelimit-remaining).
-- chart: bar x=limited,overloaded y=group_1 unit=calls title="Calls turned away"
SELECT
  group_1,
  group_2,
  count(*) AS calls,
  count(CASE WHEN status_code = 429 THEN 1 END) AS limited,
  count(CASE WHEN status_code IN (503, 529) THEN 1 END) AS overloaded,
  count(CASE WHEN is_turned_away THEN retry_after_s END) AS told_to_wait,
  CAST(percentile_cont(0.5) WITHIN GROUP (ORDER BY CASE WHEN is_turned_away THEN retry_after_s END) AS DOUBLE)
    AS wait_p50_s,
  max(CASE WHEN is_turned_away THEN retry_after_s END) AS longest_wait_s,
  count(CASE WHEN is_turned_away THEN retried_after_s END) AS retried,
  count(CASE WHEN is_turned_away AND retried_after_s < retry_after_s THEN 1 END) AS too_early,
  count(CASE WHEN is_turned_away AND came_through THEN 1 END) AS came_through,
  min(remaining_requests) AS least_left_requests,
  min(remaining_tokens) AS least_left_tokens
FROM limits
GROUP BY group_time, group_1, group_2
HAVING count(CASE WHEN is_turned_away THEN 1 END) > 0 OR count(remaining_requests) > 0 OR count(remaining_tokens) > 0
ORDER BY group_time NULLS LAST, limited DESC, overloaded DESC, group_1 NULLS LAST, group_2 NULLS LAST
