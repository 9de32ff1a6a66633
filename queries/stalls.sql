-- Pauses within streams: how long between two events, and how much of the time nothing came.
--
-- by: model
-- Streams that came whole and had two events at least. gap: the pause between two events; percentiles are of all pauses
-- of all streams together, to a tenth of a millisecond. A stall is a pause of stall_ms or more; stalled streams had
-- one at least, and stalled share is the time of all stalls by all the time from first to last event.
-- param: stall_ms = 1000 -- Pauses from here on are stalls, in ms.
-- chart: bar x=gap_p50_ms,gap_p95_ms,gap_p99_ms y=group_1 unit=ms title="Pauses between events"
WITH counted AS (
  SELECT
    group_time, group_1, group_2,
    CAST(floor(gap_us / 100.0 + 0.5) AS BIGINT) AS tenths,
    count(*) AS gaps,
    0 AS streams,
    0 AS stalled
  FROM bare_gaps
  GROUP BY group_time, group_1, group_2, CAST(floor(gap_us / 100.0 + 0.5) AS BIGINT)
  UNION ALL
  SELECT group_time, group_1, group_2, NULL, 0, count(*), 0
  FROM stream_gaps
  GROUP BY group_time, group_1, group_2
  UNION ALL
  SELECT group_time, group_1, group_2, NULL, 0, 0, count(DISTINCT exchange_id)
  FROM bare_gaps
  WHERE gap_us >= 100 * ceil($stall_ms * 10) - 50
  GROUP BY group_time, group_1, group_2
),
ranked AS (
  SELECT
    *,
    sum(gaps) OVER (PARTITION BY group_time, group_1, group_2 ORDER BY tenths) AS rank,
    sum(gaps) OVER (PARTITION BY group_time, group_1, group_2) AS all_gaps,
    CASE WHEN tenths >= $stall_ms * 10 THEN 1 ELSE 0 END AS is_stall
  FROM counted
)
SELECT
  group_1,
  group_2,
  CAST(sum(streams) AS BIGINT) AS streams,
  CAST(sum(gaps) AS BIGINT) AS gaps,
  min(CASE WHEN rank >= 0.50 * all_gaps THEN tenths END) / 10.0 AS gap_p50_ms,
  min(CASE WHEN rank >= 0.95 * all_gaps THEN tenths END) / 10.0 AS gap_p95_ms,
  min(CASE WHEN rank >= 0.99 * all_gaps THEN tenths END) / 10.0 AS gap_p99_ms,
  max(tenths) / 10.0 AS longest_gap_ms,
  CAST(sum(stalled) AS BIGINT) AS stalled_streams,
  CAST(sum(gaps * is_stall) AS BIGINT) AS stalls,
  CAST(sum(tenths * gaps * is_stall) AS DOUBLE) / nullif(sum(tenths * gaps), 0) AS stalled_share
FROM ranked
GROUP BY group_time, group_1, group_2
ORDER BY group_time NULLS LAST, group_1 NULLS LAST, group_2 NULLS LAST
