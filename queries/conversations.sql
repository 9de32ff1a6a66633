-- Conversations: calls that go on from one another, and how much of each prompt was a repeat.
--
-- A call goes on from an earlier one if its messages begin with that one's messages and its answer; no client has to
-- help. branches counts calls that go on from where another call had gone on: a history that was edited, or an answer
-- asked for again. A history that was compacted begins a conversation of its own. waiting is the time all its calls
-- took. repeated messages and repeated share say what the prompts repeated of the call before, in messages and as a
-- share of all characters of text sent; cached share is what of the prompt tokens the provider read from its cache,
-- over the calls that reported both. Calls that stand alone are left out. first call is the end of its id,
-- which `tapeline show` takes.
SELECT
  right(conversation_id, 8) AS first_call,
  min(coalesce(model, response_model)) AS model,
  min(started_at) AS first_at,
  count(*) AS calls,
  count(parent_exchange_id) - count(DISTINCT parent_exchange_id) AS branches,
  CAST(sum(ended_us) AS DOUBLE) / 1000000 AS waiting_s,
  sum(prompt_tokens) AS prompt_tokens,
  sum(completion_tokens) AS completion_tokens,
  CAST(sum(repeated_prefix_messages) AS BIGINT) AS repeated_messages,
  CAST(sum(repeated_prefix_characters) AS DOUBLE) / nullif(sum(prompt_characters), 0) AS repeated_share,
  CAST(sum(cached_tokens) AS DOUBLE)
    / nullif(sum(prompt_tokens) FILTER (WHERE cached_tokens IS NOT NULL), 0) AS cached_share
FROM exchanges
GROUP BY conversation_id
HAVING count(*) > 1
ORDER BY first_at, conversation_id
