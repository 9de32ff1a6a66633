-- Everything in one line a model: calls, how they ended, tokens, and the usual wait.
--
-- ttft is the time to first token of streamed answers, total the time of whole answers; both are medians.
-- chart: bar x=calls y=model title="Calls"
SELECT
  coalesce(model, response_model) AS model,
  count(*) AS calls,
  count(*) FILTER (WHERE outcome = 'complete') AS complete,
  sum(prompt_tokens) AS prompt_tokens,
  sum(completion_tokens) AS completion_tokens,
  CAST(percentile_cont(0.5) WITHIN GROUP (ORDER BY CASE WHEN outcome = 'complete' THEN first_token_us END) AS DOUBLE)
    / 1000 AS ttft_ms,
  CAST(percentile_cont(0.5) WITHIN GROUP (ORDER BY CASE WHEN outcome = 'complete' THEN ended_us END) AS DOUBLE)
    / 1000 AS total_ms
FROM exchanges
GROUP BY coalesce(model, response_model)
ORDER BY calls DESC, model NULLS LAST
