-- Pairs the exchanges of two sides, `base` and `candidate`, and finds all differences, character by character. An
-- exchange has a number for each side, because it may belong to both.

-- name: keys_by_column
CREATE OR REPLACE TEMP TABLE keys AS
SELECT exchange_id, CAST(COLUMNS(lambda name: name = $column) AS VARCHAR) AS key FROM exchanges;

-- name: keys_by_last_user
CREATE OR REPLACE TEMP TABLE keys AS
SELECT exchange_id, arg_max(content_id, position) AS key
FROM messages
WHERE role = 'user'
GROUP BY exchange_id;

-- name: side_exchanges
CREATE OR REPLACE TEMP TABLE side_exchanges (
  side VARCHAR, number BIGINT, exchange_id VARCHAR, key VARCHAR, occurrence BIGINT, model VARCHAR, is_kept BOOLEAN,
  prompt_tokens DOUBLE, completion_tokens DOUBLE, total_tokens DOUBLE, cost_usd DOUBLE, ttft_ms DOUBLE, total_ms DOUBLE
);

-- name: add_side
-- Times count only for complete responses.
INSERT INTO side_exchanges
SELECT
  $side,
  row_number() OVER (ORDER BY e.started_at, e.exchange_id) + (SELECT count(*) FROM side_exchanges),
  e.exchange_id,
  k.key,
  row_number() OVER (PARTITION BY k.key ORDER BY e.started_at, e.exchange_id),
  coalesce(e.model, e.response_model),
  e.content_kept IS DISTINCT FROM false,
  e.prompt_tokens,
  e.completion_tokens,
  e.total_tokens,
  CAST(e.cost_usd AS DOUBLE),
  CASE WHEN e.streamed AND e.outcome = 'complete' THEN e.first_token_us / 1000.0 END,
  CASE WHEN e.outcome = 'complete' THEN e.ended_us / 1000.0 END
FROM exchanges e
LEFT JOIN keys k ON k.exchange_id = e.exchange_id;

-- name: pairs
CREATE OR REPLACE TEMP TABLE pairs AS
SELECT
  row_number() OVER (ORDER BY b.number) AS pair,
  b.key,
  b.occurrence,
  b.number AS base,
  c.number AS candidate,
  b.exchange_id AS base_id,
  c.exchange_id AS candidate_id
FROM side_exchanges b
JOIN side_exchanges c ON c.side = 'candidate' AND c.key = b.key AND c.occurrence = b.occurrence
WHERE b.side = 'base';

-- name: repeated
-- The keys that BASE has several times: the differences between its own responses are the noise.
CREATE OR REPLACE TEMP TABLE repeated AS
SELECT key FROM side_exchanges WHERE side = 'base' AND key IS NOT NULL GROUP BY key HAVING count(*) > 1;

-- name: choice_texts
-- One row for each choice, numbered in the order of `index`: its texts, and its tool calls sorted, because the order of
-- parallel calls has no meaning. Content that is not plain text is in `extra`.
CREATE OR REPLACE TEMP VIEW choice_texts AS
SELECT
  number,
  is_kept,
  position AS choice,
  item.finish_reason AS finish_reason,
  coalesce(
    item.content,
    json_extract_string(item.extra, '$.message.content'),
    json_extract_string(item.extra, '$.choice.text'),
    ''
  ) AS text,
  coalesce(item.refusal, '') AS refusal,
  coalesce(item.reasoning, '') <> '' AS has_reasoning,
  list_sort(list_transform(coalesce(item.tool_calls, []), lambda call: coalesce(call.name, ''))) AS names,
  CAST(to_json(list_sort(list_transform(
    coalesce(item.tool_calls, []), lambda call: [coalesce(call.name, ''), coalesce(call.arguments, '')]
  ))) AS VARCHAR) AS calls
FROM (
  SELECT
    a.number,
    a.is_kept,
    unnest(list_sort(e.choices)) AS item,
    unnest(range(len(e.choices))) AS position
  FROM side_exchanges a
  JOIN stored.exchanges e ON e.exchange_id = a.exchange_id
);

-- name: facets
-- One row for each value that is compared; texts as hashes. An unknown value has no row and is not compared.
CREATE OR REPLACE TEMP TABLE facets AS
SELECT number, CAST(-1 AS BIGINT) AS choice, kind, value
FROM (
  SELECT
    a.number,
    e.outcome AS outcome,
    coalesce(CAST(e.status_code AS VARCHAR), 'none') AS status,
    coalesce(nullif(concat_ws(' ', e.error_type, e.error_code), ''), 'none') AS error,
    CAST(len(e.choices) AS VARCHAR) AS choices
  FROM side_exchanges a
  JOIN stored.exchanges e ON e.exchange_id = a.exchange_id
) UNPIVOT (value FOR kind IN (outcome, status, error, choices))
UNION ALL
SELECT number, choice, kind, value
FROM (
  SELECT
    number,
    choice,
    coalesce(finish_reason, 'none') AS finish_reason,
    CASE WHEN is_kept THEN md5(text) END AS text,
    CASE WHEN is_kept THEN md5(refusal) END AS refusal,
    CASE WHEN is_kept THEN CAST(to_json(names) AS VARCHAR) END AS tool_names,
    CASE WHEN is_kept THEN md5(calls) END AS tool_arguments,
    CASE WHEN is_kept THEN CASE WHEN has_reasoning THEN 'present' ELSE 'absent' END END AS reasoning
  FROM choice_texts
) UNPIVOT (value FOR kind IN (finish_reason, text, refusal, tool_names, tool_arguments, reasoning));

-- name: differences
-- `is_within`: BASE also has the candidate's value for the same key.
CREATE OR REPLACE TEMP TABLE differences AS
SELECT
  p.pair, p.key, p.base, p.candidate, b.choice, b.kind,
  b.value AS base_value,
  c.value AS candidate_value,
  own.key IS NOT NULL AS is_within
FROM pairs p
JOIN facets b ON b.number = p.base
JOIN facets c ON c.number = p.candidate AND c.choice = b.choice AND c.kind = b.kind AND c.value <> b.value
LEFT JOIN (
  SELECT DISTINCT a.key, f.choice, f.kind, f.value
  FROM facets f
  JOIN side_exchanges a ON a.number = f.number AND a.side = 'base'
  JOIN repeated r ON r.key = a.key
) own ON own.key = p.key AND own.choice = c.choice AND own.kind = c.kind AND own.value = c.value;

-- name: named_differences
-- The kinds of change with values that are shown as they are.
SELECT pair, choice, kind, base_value, candidate_value, is_within
FROM differences
WHERE kind NOT IN ('text', 'refusal', 'tool_arguments')
ORDER BY pair, choice, kind;

-- name: own_texts
-- BASE's own texts for keys with texts that differ: the earliest ones, as many as are compared with one another.
WITH own AS (
  SELECT a.key, f.choice, f.kind, min(f.number) AS number
  FROM facets f
  JOIN side_exchanges a ON a.number = f.number AND a.side = 'base'
  JOIN repeated r ON r.key = a.key
  SEMI JOIN differences d ON d.key = a.key AND d.choice = f.choice AND d.kind = f.kind
  WHERE f.kind IN ('text', 'refusal', 'tool_arguments')
  GROUP BY a.key, f.choice, f.kind, f.value
  QUALIFY row_number() OVER (PARTITION BY a.key, f.choice, f.kind ORDER BY min(f.number)) <= $most
)
SELECT
  own.key, own.choice, own.kind,
  list(CASE own.kind WHEN 'text' THEN s.text WHEN 'refusal' THEN s.refusal ELSE s.calls END ORDER BY own.number) AS texts
FROM own
JOIN choice_texts s ON s.number = own.number AND s.choice = own.choice
GROUP BY own.key, own.choice, own.kind;

-- name: texts_that_differ
SELECT
  d.pair, d.key, d.choice, d.kind, d.is_within,
  CASE d.kind WHEN 'text' THEN b.text WHEN 'refusal' THEN b.refusal ELSE b.calls END AS base_text,
  CASE d.kind WHEN 'text' THEN c.text WHEN 'refusal' THEN c.refusal ELSE c.calls END AS candidate_text
FROM differences d
JOIN choice_texts b ON b.number = d.base AND b.choice = d.choice
JOIN choice_texts c ON c.number = d.candidate AND c.choice = d.choice
WHERE d.kind IN ('text', 'refusal', 'tool_arguments');

-- name: all_pairs
SELECT
  p.pair, p.key, p.occurrence, p.base_id, p.candidate_id, b.model AS base_model, c.model AS candidate_model
FROM pairs p
JOIN side_exchanges b ON b.number = p.base
JOIN side_exchanges c ON c.number = p.candidate
ORDER BY p.pair;

-- name: unpaired
SELECT
  a.side, a.exchange_id, a.key, a.occurrence, a.model,
  CASE
    WHEN a.key IS NULL THEN 'no key'
    WHEN EXISTS (SELECT 1 FROM side_exchanges o WHERE o.side <> a.side AND o.key = a.key) THEN 'more often here'
    ELSE 'only here'
  END AS reason
FROM side_exchanges a
WHERE a.number NOT IN (SELECT base FROM pairs UNION ALL SELECT candidate FROM pairs)
ORDER BY a.number;

-- name: figures
SELECT
  b.prompt_tokens AS base_prompt_tokens, c.prompt_tokens AS candidate_prompt_tokens,
  b.completion_tokens AS base_completion_tokens, c.completion_tokens AS candidate_completion_tokens,
  b.total_tokens AS base_total_tokens, c.total_tokens AS candidate_total_tokens,
  b.cost_usd AS base_cost_usd, c.cost_usd AS candidate_cost_usd,
  b.ttft_ms AS base_ttft_ms, c.ttft_ms AS candidate_ttft_ms,
  b.total_ms AS base_total_ms, c.total_ms AS candidate_total_ms
FROM pairs p
JOIN side_exchanges b ON b.number = p.base
JOIN side_exchanges c ON c.number = p.candidate
ORDER BY p.pair;

-- name: basis
-- The number of pairs that could not be compared in full.
SELECT
  count(*) FILTER (WHERE NOT (b.is_kept AND c.is_kept)) AS without_text,
  count(*) FILTER (WHERE be.choices IS NULL OR ce.choices IS NULL) AS without_choices,
  count(*) FILTER (WHERE p.key IN (SELECT key FROM repeated)) AS with_own_spread
FROM pairs p
JOIN side_exchanges b ON b.number = p.base
JOIN side_exchanges c ON c.number = p.candidate
JOIN stored.exchanges be ON be.exchange_id = p.base_id
JOIN stored.exchanges ce ON ce.exchange_id = p.candidate_id;

-- name: shown_texts
SELECT
  p.pair, b.choice,
  b.text AS base_text, b.refusal AS base_refusal, b.calls AS base_calls,
  c.text AS candidate_text, c.refusal AS candidate_refusal, c.calls AS candidate_calls
FROM pairs p
JOIN choice_texts b ON b.number = p.base
JOIN choice_texts c ON c.number = p.candidate AND c.choice = b.choice
WHERE p.pair IN (SELECT unnest($pairs))
ORDER BY p.pair, b.choice;

-- name: shown_prompts
-- The text of the last message of the user.
SELECT p.pair, arg_max(k.text, m.position) AS text
FROM pairs p
JOIN (
  SELECT exchange_id, unnest(message_ids) AS content_id, unnest(range(len(message_ids))) AS position
  FROM stored.exchanges
) m ON m.exchange_id = p.base_id
JOIN stored.content k ON k.content_id = m.content_id AND k.role = 'user'
WHERE p.pair IN (SELECT unnest($pairs))
GROUP BY p.pair;
