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
  sum(prompt_tokens) AS prompt_tokens,
  sum(cached_tokens) AS cached_tokens,
  sum(completion_tokens) AS completion_tokens,
  sum(reasoning_tokens) AS reasoning_tokens,
  sum(total_tokens) AS total_tokens
FROM exchanges
GROUP BY day, coalesce(model, response_model)
ORDER BY day, model NULLS LAST
