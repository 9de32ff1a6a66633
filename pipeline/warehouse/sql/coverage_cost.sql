-- What the money of a report rests on, under the filters that are set.
SELECT
  count(*) FILTER (WHERE cost_status = 'priced') AS priced,
  count(*) FILTER (WHERE cost_status = 'partial') AS partial,
  count(*) FILTER (WHERE coalesce(cost_status, 'unpriced') = 'unpriced') AS unpriced,
  count(*) FILTER (WHERE cost_status = 'invalid_usage') AS invalid_usage,
  count(*) FILTER (WHERE coalesce(cost_status, 'unpriced') = 'unpriced' AND usage_source = 'absent') AS usage_absent,
  count(*) FILTER (WHERE cost_status = 'priced' AND cost_note IS NOT NULL) AS with_note,
  sum(CASE WHEN cost_status = 'partial' THEN known_cost_usd END) AS partial_usd,
  string_agg(DISTINCT price_source || ' ' || price_version, ', ' ORDER BY price_source || ' ' || price_version)
    FILTER (WHERE cost_status IN ('priced', 'partial')) AS prices
FROM exchanges;
