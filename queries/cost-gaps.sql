-- Why calls have no cost, or only a part of one.
--
-- What has no price gets one in prices.toml; usage that was not reported stays unknown. Streams of OpenAI's kind report
-- it if the client asks with stream_options.include_usage.
SELECT
  cost_status AS status,
  cost_note AS reason,
  provider,
  coalesce(model, response_model) AS model,
  count(*) AS calls,
  max(started_at) AS last_at
FROM exchanges
WHERE cost_status IS DISTINCT FROM 'priced'
GROUP BY cost_status, cost_note, provider, coalesce(model, response_model)
ORDER BY calls DESC, status, reason, provider, model NULLS LAST
