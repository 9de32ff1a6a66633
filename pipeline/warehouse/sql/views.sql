-- A moment as UTC has it; what DuckDB knows of time zones would be asked row by row.
CREATE MACRO utc(moment) AS make_timestamp(epoch_us(moment));

-- The flat views that reports read. `exchanges` is what the filters let through, and the other views follow it: a
-- variable that is not set lets everything through, so that the views also work for any other reader of the file.
CREATE VIEW exchanges AS
SELECT *, CAST(utc(started_at) AS DATE) AS day
FROM stored.priced
WHERE (getvariable('run') IS NULL OR run GLOB getvariable('run'))
  AND (getvariable('model') IS NULL OR coalesce(model, response_model) GLOB getvariable('model'))
  AND (getvariable('provider') IS NULL OR provider GLOB getvariable('provider'))
  AND (getvariable('since') IS NULL OR started_at >= getvariable('since'))
  AND (getvariable('until') IS NULL OR started_at < getvariable('until'));

-- Of a message that is a role and a text, the files have no JSON beside them.
CREATE VIEW content AS
SELECT * REPLACE (
  coalesce(json, '{"role":' || CAST(to_json(role) AS VARCHAR) || ',"content":' || CAST(to_json(text) AS VARCHAR) || '}')
  AS json)
FROM stored.content;

-- What is not recorded has no model and no provider to filter by.
CREATE VIEW losses AS
SELECT *
FROM stored.losses
WHERE (getvariable('run') IS NULL OR run GLOB getvariable('run'))
  AND (getvariable('since') IS NULL OR "at" >= getvariable('since'))
  AND (getvariable('until') IS NULL OR "at" < getvariable('until'));

-- The names of the tools that a request offered.
CREATE VIEW tool_sets AS
SELECT
  content_id,
  array_to_string(
    list_transform(
      CAST(json_extract(json, '$[*]') AS JSON[]),
      lambda tool: coalesce(
        json_extract_string(tool, '$.function.name'), json_extract_string(tool, '$.name'),
        json_extract_string(tool, '$.type'), '?')),
    ', ') AS names
FROM content
WHERE kind IN ('tools', 'functions');

-- What `--by` can name, as in `definition.GROUPS`.
CREATE MACRO group_key("by", started_at, model, provider, host, run, end_user, key_id, conversation, tools, tier, outcome) AS
  CASE "by"
    WHEN 'day' THEN CAST(CAST(utc(started_at) AS DATE) AS VARCHAR)
    WHEN 'hour' THEN strftime(utc(started_at), '%Y-%m-%d %H:00')
    WHEN 'model' THEN model
    WHEN 'provider' THEN provider
    WHEN 'host' THEN host
    WHEN 'run' THEN run
    WHEN 'user' THEN end_user
    WHEN 'key' THEN key_id
    WHEN 'conversation' THEN right(conversation, 12)
    WHEN 'tools' THEN tools
    WHEN 'tier' THEN tier
    WHEN 'outcome' THEN outcome
  END;

-- The exchanges with the one or two things that `--by` names; `group_time` puts days and hours in order.
CREATE VIEW grouped AS
SELECT
  e.*,
  group_key(
    getvariable('group_1'), e.started_at, coalesce(e.model, e.response_model), e.provider, e.host, e.run, e.user, e.api_key_id,
    e.conversation_id, t.names || ' (' || left(t.content_id, 6) || ')', e.served_service_tier, e.outcome
  ) AS group_1,
  group_key(
    getvariable('group_2'), e.started_at, coalesce(e.model, e.response_model), e.provider, e.host, e.run, e.user, e.api_key_id,
    e.conversation_id, t.names || ' (' || left(t.content_id, 6) || ')', e.served_service_tier, e.outcome
  ) AS group_2,
  CASE getvariable('group_1')
    WHEN 'day' THEN date_trunc('day', utc(e.started_at))
    WHEN 'hour' THEN date_trunc('hour', utc(e.started_at))
  END AS group_time
FROM exchanges e
LEFT JOIN (SELECT * FROM tool_sets WHERE 'tools' IN (getvariable('group_1'), getvariable('group_2'))) t
  ON t.content_id = coalesce(e.tools_id, e.functions_id);

-- The percentiles that reports show, of all rows in one pass; one by one each would pass over them again.
CREATE MACRO percentiles(amount) AS quantile_cont(CAST(amount AS DOUBLE), [0.50, 0.90, 0.95, 0.99]);
CREATE MACRO p50_of(percentiles) AS percentiles[1];
CREATE MACRO p90_of(percentiles) AS percentiles[2];
CREATE MACRO p95_of(percentiles) AS percentiles[3];
CREATE MACRO p99_of(percentiles) AS percentiles[4];

-- A row per choice of an answer.
CREATE VIEW choices AS
SELECT
  e.exchange_id, e.run, e.started_at, e.day, e.provider, e.host, e.streamed, e.outcome,
  e.group_time, e.group_1, e.group_2,
  coalesce(e.model, e.response_model) AS model,
  coalesce(e.max_completion_tokens, e.max_tokens) AS token_limit,
  e.completion_tokens,
  c.choice.index AS choice_index,
  c.choice.role AS role,
  c.choice.content AS content,
  c.choice.refusal AS refusal,
  c.choice.reasoning AS reasoning,
  c.choice.finish_reason AS finish_reason,
  coalesce(len(c.choice.tool_calls), 0) AS tool_call_count,
  c.choice.logprobs AS logprobs,
  c.choice.extra AS extra
FROM grouped e, unnest(e.choices) AS c(choice);

-- A row per tool call of a choice.
CREATE VIEW tool_calls AS
SELECT
  e.exchange_id, e.run, e.started_at, e.day, e.provider, e.outcome,
  coalesce(e.model, e.response_model) AS model,
  c.choice.index AS choice_index,
  t.call.index AS call_index,
  t.call.id AS call_id,
  t.call.type AS type,
  t.call.name AS name,
  t.call.arguments AS arguments
FROM exchanges e, unnest(e.choices) AS c(choice), unnest(c.choice.tool_calls) AS t(call);

-- A row per message of a request, with its text and JSON.
CREATE VIEW messages AS
SELECT
  m.exchange_id, m.run, m.started_at, m.day, m.provider, m.model, m.position, m.content_id,
  k.role, k.text, k.json, k.bytes
FROM (
  SELECT
    e.exchange_id, e.run, e.started_at, e.day, e.provider,
    coalesce(e.model, e.response_model) AS model,
    unnest(range(len(e.message_ids))) AS position,
    unnest(e.message_ids) AS content_id
  FROM exchanges e
) m
LEFT JOIN content k ON k.content_id = m.content_id;

-- A row per stream that came whole, with the pauses between its events.
CREATE VIEW stream_gaps AS
SELECT *, list_max(gaps) AS longest_gap_us
FROM (
  SELECT
    e.exchange_id, e.run, e.started_at, e.day, e.provider, e.group_time, e.group_1, e.group_2,
    coalesce(e.model, e.response_model) AS model,
    list_transform(range(2, len(e.event_offsets_us) + 1), lambda k: e.event_offsets_us[k] - e.event_offsets_us[k - 1])
      AS gaps
  FROM grouped e
  WHERE e.outcome = 'complete' AND e.streamed AND len(e.event_offsets_us) > 1
) streams;

-- A row per pause of such a stream; the first of its longest ones is marked.
CREATE VIEW event_gaps AS
SELECT *, position = longest_at AS is_longest
FROM (
  SELECT
    exchange_id, run, started_at, day, provider, model, group_time, group_1, group_2,
    unnest(range(1, len(gaps) + 1)) AS position,
    unnest(gaps) AS gap_us,
    list_position(gaps, longest_gap_us) AS longest_at
  FROM stream_gaps
) pauses;

-- The same pauses, where nobody asks for their places: those would have to be counted out for each.
CREATE VIEW bare_gaps AS
SELECT
  exchange_id, group_time, group_1, group_2,
  unnest(event_offsets_us[2:]) - unnest(event_offsets_us[:-2]) AS gap_us
FROM grouped
WHERE outcome = 'complete' AND streamed AND len(event_offsets_us) > 1;

-- What providers say of the cost of calls, beside ours. Bifrost says which tokens were billed: they count at our prices.
CREATE VIEW reported_costs AS
SELECT
  exchange_id, provider, coalesce(model, response_model) AS model, cost_usd,
  reported_cost_source AS source, reported_cost AS reported_usd
FROM exchanges
WHERE reported_cost IS NOT NULL
UNION ALL
SELECT
  exchange_id, provider, coalesce(model, response_model), cost_usd, 'extra_fields.billed_usage',
  CAST(
    cost_usd
    + stored.money(stored.count_in(billed, '$.prompt_tokens') - prompt_tokens, input_token_usd)
    + stored.money(stored.count_in(billed, '$.completion_tokens') - completion_tokens, output_token_usd)
    AS DECIMAL(38, 12))
FROM (SELECT *, json_extract(response_extra, '$.extra_fields.billed_usage') AS billed FROM exchanges)
WHERE contains(response_extra, '"billed_usage"') AND json_type(billed) = 'OBJECT';

-- The value of a header, of the first of that name.
CREATE MACRO header(headers, wanted) AS list_extract(list_filter(headers, lambda one: one.name = wanted), 1).value;

-- How long it is from a moment, in seconds of the epoch, to a time; 0 where that is over. `greatest` overlooks NULL.
CREATE MACRO seconds_until(until, moment) AS
  CASE WHEN epoch(until) > moment THEN epoch(until) - moment WHEN until IS NOT NULL THEN 0 END;

-- The exchanges with what they say of limits: how long to wait, what is left, and of those that were turned away whether
-- the same request was sent again in the same run, how long after, and whether it was answered at last.
CREATE VIEW limits AS
WITH turned_away AS (
  SELECT exchange_id, run, request_fingerprint, started_at + to_microseconds(ended_us) AS ended_at
  FROM exchanges
  WHERE status_code IN (429, 503, 529)
),
attempts AS (
  SELECT
    t.exchange_id,
    epoch(min(a.started_at)) - epoch(any_value(t.ended_at)) AS retried_after_s,
    bool_or(a.outcome = 'complete') AS came_through
  FROM turned_away t
  JOIN stored.exchanges a
    ON a.request_fingerprint = t.request_fingerprint AND a.run = t.run AND a.started_at >= t.ended_at
  GROUP BY t.exchange_id
)
SELECT
  e.*,
  coalesce(e.status_code IN (429, 503, 529), FALSE) AS is_turned_away,
  coalesce(
    TRY_CAST(header(e.response_headers, 'retry-after-ms') AS DOUBLE) / 1000,
    TRY_CAST(header(e.response_headers, 'retry-after') AS DOUBLE),
    seconds_until(
      try_strptime(header(e.response_headers, 'retry-after'), '%a, %d %b %Y %H:%M:%S GMT'),
      epoch(e.started_at) + e.ended_us / 1000000.0)
  ) AS retry_after_s,
  TRY_CAST(coalesce(
    header(e.response_headers, 'x-ratelimit-remaining-requests'),
    header(e.response_headers, 'anthropic-ratelimit-requests-remaining'),
    header(e.response_headers, 'x-ratelimit-remaining'),
    header(e.response_headers, 'ratelimit-remaining')
  ) AS BIGINT) AS remaining_requests,
  TRY_CAST(coalesce(
    header(e.response_headers, 'x-ratelimit-remaining-tokens'),
    header(e.response_headers, 'anthropic-ratelimit-tokens-remaining')
  ) AS BIGINT) AS remaining_tokens,
  a.retried_after_s,
  a.came_through
FROM grouped e
LEFT JOIN attempts a ON a.exchange_id = e.exchange_id;
