-- Why answers could not be reassembled without loss; numbers and what a problem quotes are left out.
SELECT
  regexp_replace(split_part(p.problem, ': ', 1), '[0-9]+', '#', 'g') AS problem,
  count(DISTINCT exchange_id) AS exchanges,
  min(exchange_id) AS example
FROM stored.exchanges, unnest(reassembly_problems) AS p(problem)
GROUP BY ALL
ORDER BY exchanges DESC, problem
LIMIT 10
