-- Why answers ended, by model: each choice counts.
--
-- share is of the model's choices. A choice without a finish reason, of an answer that was cut, shows none.
-- chart: bar x=choices y=model color=finish_reason title="Choices by finish reason"
SELECT
  model,
  finish_reason,
  count(*) AS choices,
  CAST(count(*) AS DOUBLE) / sum(count(*)) OVER (PARTITION BY model) AS share,
  count(DISTINCT exchange_id) AS calls
FROM choices
GROUP BY model, finish_reason
ORDER BY model NULLS LAST, choices DESC, finish_reason NULLS LAST
