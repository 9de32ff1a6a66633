-- The twenty calls that cost most.
--
-- call is the end of its id, which `tapeline show` takes. price names the entry that held.
SELECT
  right(exchange_id, 8) AS call,
  cost_usd,
  provider,
  coalesce(model, response_model) AS model,
  prompt_tokens,
  completion_tokens,
  cached_tokens,
  reasoning_tokens,
  reported_cost AS reported_usd,
  started_at,
  outcome,
  price_name AS price
FROM exchanges
WHERE cost_usd IS NOT NULL
ORDER BY cost_usd DESC, exchange_id
LIMIT 20
