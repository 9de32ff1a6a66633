-- What the figures of a report rest on.
SELECT
  count(*) AS calls,
  count(*) FILTER (WHERE outcome = 'complete') AS complete,
  count(*) FILTER (WHERE usage_source <> 'absent') AS usage_reported,
  count(*) FILTER (WHERE streamed) AS streamed,
  count(first_token_us) AS first_token_timed,
  count(*) FILTER (WHERE len(reassembly_problems) > 0) AS reassembled_with_loss,
  min(started_at) AS first_at,
  max(started_at) AS last_at,
  CAST((SELECT coalesce(sum(exchanges), 0) FROM losses) AS BIGINT) AS not_recorded
FROM exchanges;
