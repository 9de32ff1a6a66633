-- How answers end: cut, filtered, refused, calling tools, or without a reason.
--
-- by: model
-- Each choice of an answer that came whole counts, a share is of these choices. cut: finish reason `length`; filtered:
-- `content_filter`; calling tools: the choice has a tool call, whatever its reason; refused: it has a refusal; no
-- reason: the provider gave none. broken off: streams that ended without one (outcome truncated, client_aborted, ...),
-- which are in no share.
-- chart: bar x=cut_share,filtered_share,refused_share,no_reason_share y=group_1 unit=share title="Answers that may not be what was wanted"
WITH ended AS (
  SELECT
    *,
    CASE WHEN outcome = 'complete' THEN 1 END AS whole
  FROM choices
)
SELECT
  group_1,
  group_2,
  count(DISTINCT CASE WHEN whole = 1 THEN exchange_id END) AS calls,
  count(whole) AS choices,
  CAST(count(CASE WHEN whole = 1 AND finish_reason = 'length' THEN 1 END) AS DOUBLE) / nullif(count(whole), 0)
    AS cut_share,
  CAST(count(CASE WHEN whole = 1 AND finish_reason = 'content_filter' THEN 1 END) AS DOUBLE) / nullif(count(whole), 0)
    AS filtered_share,
  CAST(count(CASE WHEN whole = 1 AND tool_call_count > 0 THEN 1 END) AS DOUBLE) / nullif(count(whole), 0)
    AS calling_tools_share,
  CAST(count(CASE WHEN whole = 1 AND refusal IS NOT NULL THEN 1 END) AS DOUBLE) / nullif(count(whole), 0)
    AS refused_share,
  CAST(count(CASE WHEN whole = 1 AND finish_reason IS NULL THEN 1 END) AS DOUBLE) / nullif(count(whole), 0)
    AS no_reason_share,
  count(CASE WHEN whole IS NULL AND streamed AND finish_reason IS NULL THEN 1 END) AS broken_off
FROM ended
GROUP BY group_time, group_1, group_2
ORDER BY group_time NULLS LAST, group_1 NULLS LAST, group_2 NULLS LAST
