-- Links exchanges to conversations; `fresh` holds those to be linked, with their keys and the time of their answers.
-- Their numbers stand for them on the way: ids would take several times the memory.

-- name: add_answers
INSERT INTO stored.answers
SELECT unnest(answer_keys), exchange_id, answered_at, run, client_connection_id, message_count, prompt_characters
FROM fresh;

-- name: late_parents
-- Whether an exchange that was loaded earlier goes on from one of them.
SELECT 1
FROM stored.unlinked u
JOIN (SELECT unnest(answer_keys) AS key, answered_at FROM fresh) f ON f.key = u.key AND f.answered_at < u.started_at
LIMIT 1;

-- name: answered
-- What was answered to the histories that are asked for as a whole: to most of them one answer.
CREATE OR REPLACE TEMP TABLE answered AS
SELECT
  key, min(answered_at) AS first_at, count(*) AS answers,
  any_value({'id': exchange_id, 'message_count': message_count, 'prompt_characters': prompt_characters}) AS parent
FROM stored.answers
WHERE key IN (SELECT history_keys[-1] FROM fresh)
GROUP BY key;

-- name: longest
-- An answer counts if it was there before the request, and the longest history that has one wins: mostly all of it.
CREATE OR REPLACE TEMP TABLE longest AS
SELECT
  f.number,
  len(f.history_keys) - 1 AS position,
  a.key,
  CASE WHEN a.answers = 1 THEN a.parent END AS sole_parent
FROM fresh f
JOIN answered a ON a.key = f.history_keys[-1] AND a.first_at < f.started_at;

-- name: asked
-- What is left is asked for answer by answer.
CREATE OR REPLACE TEMP TABLE asked AS
SELECT number, started_at, unnest(history_keys) AS key, unnest(range(len(history_keys))) AS position
FROM fresh
ANTI JOIN longest USING (number);

-- name: shorter
INSERT INTO longest
SELECT a.number, max(a.position), arg_max(a.key, a.position), NULL
FROM asked a
JOIN (
  SELECT key, min(answered_at) AS first_at
  FROM stored.answers
  WHERE key IN (SELECT key FROM asked)
  GROUP BY key
) f ON f.key = a.key AND f.first_at < a.started_at
GROUP BY a.number;

-- name: answers
CREATE OR REPLACE TEMP TABLE answers AS
SELECT
  key, answered_at, run, client_connection_id,
  {'id': exchange_id, 'message_count': message_count, 'prompt_characters': prompt_characters} AS parent
FROM stored.answers
WHERE key IN (SELECT key FROM longest WHERE sole_parent IS NULL);

-- name: parents
-- Of several exchanges that gave the same answer to the same history the last one is the parent: first of the same
-- connection, then of the same run, then of all.
CREATE OR REPLACE TEMP TABLE parents AS
SELECT number, parent
FROM (
  SELECT number, sole_parent AS parent
  FROM longest
  WHERE sole_parent IS NOT NULL
  UNION ALL
  SELECT l.number, coalesce(c.parent, r.parent, a.parent)
  FROM (
    SELECT number, key, started_at, run, client_connection_id
    FROM longest
    JOIN fresh USING (number)
    WHERE sole_parent IS NULL
  ) l
  ASOF LEFT JOIN answers c
    ON c.key = l.key AND c.client_connection_id = l.client_connection_id AND c.answered_at < l.started_at
  ASOF LEFT JOIN answers r ON r.key = l.key AND r.run = l.run AND r.answered_at < l.started_at
  ASOF LEFT JOIN answers a ON a.key = l.key AND a.answered_at < l.started_at
);

-- name: remember_unlinked
-- Histories with an answer that nobody recorded so far; it may stand in a journal that is still to be sealed.
INSERT INTO stored.unlinked
SELECT a.key, a.started_at
FROM asked a
LEFT JOIN longest l ON l.number = a.number
WHERE l.position IS NULL OR l.position < a.position;

-- name: steps
-- From an exchange to another of its conversation that was before it. A file that lies there twice has each one twice.
CREATE OR REPLACE TEMP TABLE steps AS
SELECT p.number, min(f.number) AS top, TRUE AS may_climb
FROM parents p
JOIN fresh f ON f.exchange_id = p.parent.id
GROUP BY p.number;

-- name: may_climb
SELECT 1 FROM steps WHERE may_climb LIMIT 1;

-- name: climb
-- Each pass over it halves the way to the first exchange of a conversation.
CREATE OR REPLACE TEMP TABLE steps AS
SELECT s.number, coalesce(above.top, s.top) AS top, above.top IS NOT NULL AS may_climb
FROM steps s
LEFT JOIN steps above ON above.number = s.top;

-- name: links
-- The first of them that is to be linked may go on from one that was loaded earlier.
CREATE OR REPLACE TEMP TABLE links AS
SELECT
  p.number,
  p.parent.id AS parent_exchange_id,
  coalesce(loaded.conversation_id, f.exchange_id) AS conversation_id,
  p.parent.message_count AS repeated_prefix_messages,
  p.parent.prompt_characters AS repeated_prefix_characters
FROM parents p
LEFT JOIN steps s ON s.number = p.number
JOIN fresh f ON f.number = coalesce(s.top, p.number)
LEFT JOIN parents first ON first.number = f.number
LEFT JOIN stored.exchanges loaded ON loaded.exchange_id = first.parent.id;

-- name: relink
UPDATE stored.exchanges
SET
  parent_exchange_id = links.parent_exchange_id,
  conversation_id = links.conversation_id,
  repeated_prefix_messages = links.repeated_prefix_messages,
  repeated_prefix_characters = links.repeated_prefix_characters
FROM links
WHERE links.number = stored.exchanges.rowid;
