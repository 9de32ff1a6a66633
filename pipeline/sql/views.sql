-- The flat views that reports read. `exchanges` is what the filters let through, and the other views follow it: a
-- variable that is not set lets everything through, so that the views also work for any other reader of the file.
CREATE VIEW exchanges AS
SELECT *, CAST(started_at AT TIME ZONE 'UTC' AS DATE) AS day
FROM stored.exchanges
WHERE (getvariable('run') IS NULL OR run GLOB getvariable('run'))
  AND (getvariable('model') IS NULL OR coalesce(model, response_model) GLOB getvariable('model'))
  AND (getvariable('provider') IS NULL OR provider GLOB getvariable('provider'))
  AND (getvariable('since') IS NULL OR started_at >= getvariable('since'))
  AND (getvariable('until') IS NULL OR started_at < getvariable('until'));

CREATE VIEW content AS SELECT * FROM stored.content;

-- What is not recorded has no model and no provider to filter by.
CREATE VIEW losses AS
SELECT *
FROM stored.losses
WHERE (getvariable('run') IS NULL OR run GLOB getvariable('run'))
  AND (getvariable('since') IS NULL OR "at" >= getvariable('since'))
  AND (getvariable('until') IS NULL OR "at" < getvariable('until'));

-- A row per choice of an answer.
CREATE VIEW choices AS
SELECT
  e.exchange_id, e.run, e.started_at, e.day, e.provider, e.host, e.streamed, e.outcome,
  coalesce(e.model, e.response_model) AS model,
  c.choice.index AS choice_index,
  c.choice.role AS role,
  c.choice.content AS content,
  c.choice.refusal AS refusal,
  c.choice.reasoning AS reasoning,
  c.choice.finish_reason AS finish_reason,
  coalesce(len(c.choice.tool_calls), 0) AS tool_call_count,
  c.choice.logprobs AS logprobs,
  c.choice.extra AS extra
FROM exchanges e, unnest(e.choices) AS c(choice);

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

-- A row per pause between two events of a stream that came whole.
CREATE VIEW event_gaps AS
SELECT exchange_id, run, started_at, day, provider, model, position, gap_us
FROM (
  SELECT
    e.exchange_id, e.run, e.started_at, e.day, e.provider,
    coalesce(e.model, e.response_model) AS model,
    unnest(range(1, len(e.event_offsets_us))) AS position,
    unnest(list_transform(
      range(2, len(e.event_offsets_us) + 1), lambda i: e.event_offsets_us[i] - e.event_offsets_us[i - 1]
    )) AS gap_us
  FROM exchanges e
  WHERE e.outcome = 'complete' AND e.streamed
) gaps;
