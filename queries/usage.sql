-- Calls and tokens of every kind, by day and model.
--
-- Tokens are sums of what providers reported; `reported` says for how many of the calls one did, and the sums cover
-- those alone. Cached tokens are part of the prompt tokens and reasoning tokens part of the completion tokens
-- wherever the provider counts as OpenAI does.
-- chart: bar x=day y=total_tokens color=model title="Tokens a day"
SELECT
  day,
  coalesce(model, response_model) AS model,
  count(*) AS calls,
  count(*) FILTER (WHERE usage_source <> 'absent') AS reported,
  CAST(sum(prompt_tokens) AS BIGINT) AS prompt_tokens,
  CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens,
  CAST(sum(completion_tokens) AS BIGINT) AS completion_tokens,
  CAST(sum(reasoning_tokens) AS BIGINT) AS reasoning_tokens,
  CAST(sum(total_tokens) AS BIGINT) AS total_tokens
FROM exchanges
GROUP BY day, coalesce(model, response_model)
ORDER BY day, model NULLS LAST
