-- What could not be recorded, and why.
--
-- The filters on model and provider do not apply: of what is not recorded nobody knows them.
SELECT
  run,
  reason,
  CAST(sum(exchanges) AS BIGINT) AS exchanges,
  CAST(sum(bytes) AS BIGINT) AS bytes,
  max("at") AS last_at
FROM losses
GROUP BY run, reason
ORDER BY last_at, run, reason
