-- What caches saved, by model, and what they could have saved: the latter is an estimate.
--
-- by: model
-- saved is cached tokens times what each cost less than an uncached one; writing is what tokens written to a cache cost
-- more than plain ones. Both are of priced calls.
-- repeated tokens and could save are ESTIMATES: of each prompt that goes on from an earlier call, the share of its
-- characters that the earlier call had sent too is taken as that share of its prompt tokens, less those that were read
-- from a cache; could save is what they would have cost less. It takes for granted that the cache still had them and
-- that they were enough to be cached; tools and images are not seen. Calls without a known price of cached tokens are
-- left out of it.
WITH calls AS (
  SELECT
    *,
    CAST(greatest(
      floor(CAST(prompt_tokens AS DOUBLE) * repeated_prefix_characters / nullif(prompt_characters, 0))
        - coalesce(cached_tokens, 0) - coalesce(cache_write_tokens, 0),
      0) AS BIGINT) AS repeated_tokens
  FROM grouped
  WHERE cost_status = 'priced'
)
SELECT
  group_1,
  group_2,
  count(*) AS calls,
  sum(prompt_tokens) AS prompt_tokens,
  sum(cached_tokens) AS cached_tokens,
  CAST(sum(cached_tokens * (input_token_usd - cached_token_usd)) AS DECIMAL(38, 12)) AS saved_usd,
  CAST(sum(cache_write_cost_usd - cache_write_tokens * input_token_usd) AS DECIMAL(38, 12)) AS writing_usd,
  CAST(sum(CASE WHEN cached_token_usd IS NOT NULL THEN repeated_tokens END) AS BIGINT) AS estimated_repeated_tokens,
  CAST(sum(repeated_tokens * (input_token_usd - cached_token_usd)) AS DECIMAL(38, 12)) AS estimated_could_save_usd
FROM calls
GROUP BY group_time, group_1, group_2
ORDER BY group_time, saved_usd DESC NULLS LAST, group_1 NULLS LAST, group_2 NULLS LAST
