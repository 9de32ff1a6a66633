-- What each call cost: its tokens at the prices that held for it.
--
-- A row of `stored.rates` is a price: for a kind of call, for a time, for a size of the prompt, in dollars a token, so
-- that nothing has to be divided. `pricing` writes them, and keeps what comes out in `stored.costs`.
-- Money is DECIMAL from here to the report: 24 digits behind the point while it is added up, 12 in the columns.
CREATE TABLE stored.rates (
  host VARCHAR, port BIGINT, provider VARCHAR, model VARCHAR, response_model VARCHAR, tier VARCHAR,
  from_us BIGINT, until_us BIGINT, day_from_us BIGINT, day_until_us BIGINT, above_tokens BIGINT, up_to_tokens BIGINT,
  input DECIMAL(25, 24), cached DECIMAL(25, 24), cache_write DECIMAL(25, 24), cache_write_1h DECIMAL(25, 24),
  output DECIMAL(25, 24), reasoning DECIMAL(25, 24), audio_input DECIMAL(25, 24), audio_output DECIMAL(25, 24),
  citation DECIMAL(25, 24), search DECIMAL(25, 24), request DECIMAL(38, 24), per_call_only BOOLEAN,
  source VARCHAR, version VARCHAR, digest VARCHAR, name VARCHAR, note VARCHAR, problem VARCHAR
);
-- Which prices the rates are from, and how many files were loaded when they were looked up.
CREATE TABLE stored.pricing (prices VARCHAR, files BIGINT);

-- Nobody has heard of a call of a million million tokens; more digits would not fit below.
CREATE MACRO stored.most_tokens() AS 1000000000000;

CREATE MACRO stored.money(tokens, rate) AS
  CASE
    WHEN tokens = 0 THEN CAST(0 AS DECIMAL(38, 24))
    ELSE CAST(TRY_CAST(tokens AS DECIMAL(13, 0)) * rate AS DECIMAL(38, 24))
  END;

CREATE MACRO stored.rounded(amount) AS CAST(amount AS DECIMAL(38, 12));

-- Sums of counts must fit, whatever a stranger reports.
CREATE MACRO stored.count_of(tokens) AS
  CASE WHEN tokens > stored.most_tokens() THEN stored.most_tokens() + 1 ELSE tokens END;

CREATE MACRO stored.count_in(document, path) AS
  stored.count_of(TRY_CAST(json_extract_string(document, path) AS BIGINT));

-- The counts as they are billed: all prompt tokens with what was cached of them, all completion tokens with reasoning.
-- Of the exchanges from `first_call` to before `end_call`: their numbers are DuckDB's own of rows, which stay as they
-- are, since no row is ever deleted, and are far quicker to join by than ids.
CREATE MACRO stored.counted(as_of, first_call, end_call) AS TABLE
SELECT
  * EXCLUDE (said, rest, beside),
  {
    -- The moment whose prices count: on another day, if one is given, at the same time of the day.
    'at_us': CASE
      WHEN as_of IS NULL THEN epoch_us(started_at)
      ELSE epoch_us(CAST(as_of AS TIMESTAMPTZ)) + epoch_us(started_at) % 86400000000
    END,
    'day_us': epoch_us(started_at) % 86400000000,
    'prompt': said.prompt + beside,
    'cached': said.cached,
    'written': said.written,
    'written_1h': CASE
      WHEN said.written > 0 THEN least(said.written, coalesce(
        stored.count_in(usage_raw, '$.prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens'),
        stored.count_in(usage_raw, '$.cache_creation.ephemeral_1h_input_tokens'), 0))
      ELSE 0
    END,
    'audio_in': said.audio_in,
    'completion': said.completion + CASE
      WHEN said.reasoning > 0 AND rest = said.reasoning THEN said.reasoning
      WHEN said.reasoning <= said.completion AND rest = 0 THEN 0
      -- These count reasoning beside the completion tokens, as the extractors of genai-prices have it.
      WHEN provider IN ('x-ai', 'perplexity') THEN said.reasoning
      -- These count thoughts in the total alone, and bill them as output.
      WHEN provider IN ('google', 'google-vertex') AND rest > 0 THEN rest
      ELSE 0
    END,
    'audio_out': said.audio_out,
    'reasoning': said.reasoning,
    'citation': CASE
      WHEN contains(usage_raw, '"citation_tokens"') THEN stored.count_in(usage_raw, '$.citation_tokens') ELSE 0
    END,
    'searches': CASE
      WHEN contains(usage_raw, 'search') OR contains(usage_raw, '"num_sources_used"') THEN coalesce(
        stored.count_in(usage_raw, '$.num_search_queries'),
        stored.count_in(usage_raw, '$.server_tool_use.web_search_requests'),
        stored.count_in(usage_raw, '$.num_sources_used'))
    END,
    -- Models that search at each call have it in their name.
    'asked_to_search': coalesce(contains(request_params, '"web_search_options"'), FALSE)
      OR coalesce(contains(coalesce(response_model, model), '-search-'), FALSE),
    'unexplained': coalesce(rest > 0 AND rest <> said.reasoning, FALSE)
      AND provider NOT IN ('x-ai', 'perplexity', 'google', 'google-vertex'),
    'problem': CASE
      WHEN greatest(said.prompt, said.completion, said.total, said.cached, said.written, said.reasoning)
        > stored.most_tokens() THEN 'more tokens than a call can have'
      WHEN said.cached + said.written > said.prompt + beside THEN 'more cached and written than prompt tokens'
      WHEN said.audio_in > said.prompt + beside THEN 'more audio than prompt tokens'
      WHEN said.audio_out > said.completion THEN 'more audio than completion tokens'
      WHEN said.reasoning > said.completion AND rest IS DISTINCT FROM said.reasoning
        AND provider NOT IN ('x-ai', 'perplexity') THEN 'more reasoning than completion tokens'
      WHEN rest < 0 THEN 'fewer tokens in total than in prompt and completion'
    END
  } AS counts
FROM (
  SELECT
    *,
    CASE WHEN beside = 0 THEN said.total - said.prompt - said.completion END AS rest
  FROM (
    SELECT
      *,
      -- Anthropic's names come with Anthropic's way of counting: cached tokens stand beside the others.
      CASE
        WHEN said.cached + said.written > 0
          AND contains(usage_raw, '"cache_') AND NOT contains(usage_raw, '"prompt_tokens"')
          THEN said.cached + said.written
        ELSE 0
      END AS beside
    FROM (
      SELECT
        *,
        {
          'prompt': stored.count_of(coalesce(prompt_tokens, nullif(total_tokens, 0) - completion_tokens)),
          'completion': stored.count_of(coalesce(completion_tokens, nullif(total_tokens, 0) - prompt_tokens)),
          'total': stored.count_of(nullif(total_tokens, 0)),
          'cached': stored.count_of(coalesce(cached_tokens, 0)),
          'written': stored.count_of(coalesce(cache_write_tokens, 0)),
          'audio_in': stored.count_of(coalesce(prompt_audio_tokens, 0)),
          'audio_out': stored.count_of(coalesce(completion_audio_tokens, 0)),
          'reasoning': stored.count_of(coalesce(reasoning_tokens, 0))
        } AS said
      FROM (SELECT rowid AS number, * FROM stored.exchanges WHERE rowid >= first_call AND rowid < end_call)
    )
  )
);

-- A call's money by what it is for. NULL where tokens were billed whose price or count is not known.
CREATE MACRO stored.parts(
  k, input, cached, cache_write, cache_write_1h, output, reasoning, audio_input, audio_output, citation, request, search
) AS {
  'input': CASE
    -- Of cached audio nobody says how much it was.
    WHEN k.audio_in > 0 AND k.cached + k.written > 0 AND audio_input IS DISTINCT FROM input THEN NULL
    ELSE stored.rounded(
      stored.money(k.prompt - k.cached - k.written - least(k.audio_in, k.prompt - k.cached - k.written), input)
      + stored.money(least(k.audio_in, k.prompt - k.cached - k.written), audio_input))
  END,
  'cached': stored.rounded(stored.money(k.cached, cached)),
  'cache_write': stored.rounded(
    stored.money(k.written - k.written_1h, cache_write) + stored.money(k.written_1h, cache_write_1h)),
  'output': CASE
    WHEN k.unexplained THEN NULL
    ELSE stored.rounded(
      stored.money(
        k.completion - k.audio_out - CASE WHEN reasoning IS NULL THEN 0 ELSE least(k.reasoning, k.completion - k.audio_out) END,
        output)
      + CASE WHEN reasoning IS NULL THEN 0 ELSE stored.money(least(k.reasoning, k.completion - k.audio_out), reasoning) END
      + stored.money(k.audio_out, audio_output))
  END,
  'other': CASE
    WHEN request IS NULL AND search IS NULL AND coalesce(k.searches, 0) > 0 THEN NULL
    WHEN request IS NULL AND k.searches IS NULL AND k.asked_to_search THEN NULL
    ELSE stored.rounded(
      coalesce(request, 0)
      + CASE WHEN search IS NULL THEN 0 ELSE stored.money(coalesce(k.searches, 0), search) END
      + CASE WHEN citation IS NULL THEN 0 ELSE stored.money(coalesce(k.citation, 0), citation) END)
  END
};

CREATE MACRO stored.known(part) AS coalesce(part, CAST(0 AS DECIMAL(38, 12)));

-- All that is known of a call's money, or NULL where none is.
CREATE MACRO stored.known_money(p) AS CASE
  WHEN coalesce(p.input, p.cached, p.cache_write, p.output, p.other) IS NOT NULL
    THEN stored.known(p.input) + stored.known(p.cached) + stored.known(p.cache_write)
      + stored.known(p.output) + stored.known(p.other)
END;

-- priced: all of it is known; partial: something of what is not nothing; unpriced: nothing.
CREATE MACRO stored.status(k, p, about) AS CASE
  WHEN about.flat THEN CASE WHEN about.answered THEN 'priced' ELSE 'unpriced' END
  WHEN k.prompt IS NULL AND k.completion IS NULL THEN 'unpriced'
  WHEN k.problem IS NOT NULL THEN 'invalid_usage'
  WHEN NOT about.found THEN NULL
  WHEN about.problem IS NOT NULL THEN 'unpriced'
  WHEN p.input + p.cached + p.cache_write + p.output + p.other IS NOT NULL THEN 'priced'
  WHEN stored.known_money(p) > 0 THEN 'partial'
  ELSE 'unpriced'
END;

-- What to know of a cost, or of why there is none.
CREATE MACRO stored.note(k, p, about) AS CASE
  WHEN about.flat AND NOT about.answered THEN 'whether a call that failed costs anything is not known'
  WHEN about.flat THEN about.note
  WHEN k.prompt IS NULL AND k.completion IS NULL THEN 'usage not reported'
  WHEN k.problem IS NOT NULL THEN k.problem
  WHEN NOT about.found THEN 'its price was not looked up'
  WHEN about.problem IS NOT NULL THEN about.problem
  WHEN k.prompt IS NULL THEN 'prompt tokens not reported'
  WHEN k.completion IS NULL THEN 'completion tokens not reported'
  WHEN k.unexplained THEN 'the total counts tokens that are neither prompt nor completion'
  WHEN p.input IS NULL AND k.audio_in > 0 AND about.audio_input IS NULL THEN 'no price of audio input is known'
  WHEN p.input IS NULL AND k.audio_in > 0 THEN 'how much of the audio was cached is not known'
  WHEN p.input IS NULL THEN 'no price of input is known'
  WHEN p.cached IS NULL THEN 'no price of cached tokens is known'
  WHEN p.cache_write IS NULL THEN 'no price of writing to the cache is known'
  WHEN p.output IS NULL AND k.audio_out > 0 AND about.audio_output IS NULL THEN 'no price of audio output is known'
  WHEN p.output IS NULL THEN 'no price of output is known'
  WHEN p.other IS NULL THEN 'searches are billed apart, and their number or price is not known'
  ELSE about.note
END;

-- What exchanges cost by the prices of a table, on their own days or on the day of `as_of`.
-- MATERIALIZED: the counts are worked out once, and not wherever they are named.
CREATE MACRO stored.computed(rates, as_of, first_call, end_call) AS TABLE
WITH matched AS MATERIALIZED (
  SELECT
    e.number,
    e.counts,
    {
      'found': r.host IS NOT NULL, 'flat': r.per_call_only, 'problem': r.problem, 'note': r.note,
      'input': r.input, 'cached': r.cached, 'cache_write': r.cache_write, 'output': r.output,
      'audio_input': r.audio_input, 'audio_output': r.audio_output,
      'source': r.source, 'version': r.version, 'digest': r.digest, 'name': r.name,
      'answered': e.status_code BETWEEN 200 AND 299
    } AS price,
    stored.parts(
      e.counts, r.input, r.cached, r.cache_write, r.cache_write_1h, r.output, r.reasoning,
      r.audio_input, r.audio_output, r.citation, r.request, r.search
    ) AS parts
  FROM stored.counted(as_of, first_call, end_call) e
  LEFT JOIN query_table(rates) r
    ON r.host = e.host AND r.port = e.port AND r.provider = e.provider
    AND r.model = coalesce(e.model, '') AND r.response_model = coalesce(e.response_model, '')
    AND r.tier = coalesce(e.served_service_tier, '')
    AND e.counts.at_us >= r.from_us AND e.counts.at_us < r.until_us
    AND e.counts.day_us >= r.day_from_us AND e.counts.day_us < r.day_until_us
    AND coalesce(e.counts.prompt, 0) > r.above_tokens AND coalesce(e.counts.prompt, 0) <= r.up_to_tokens
),
judged AS MATERIALIZED (
  SELECT number, counts, price, parts, stored.status(counts, parts, price) AS status
  FROM matched
)
SELECT
  number,
  CASE WHEN status = 'priced' THEN stored.known_money(parts) END AS cost_usd,
  status AS cost_status,
  stored.note(counts, parts, price) AS cost_note,
  CASE WHEN status IN ('priced', 'partial') THEN stored.known_money(parts) END AS known_cost_usd,
  CASE WHEN status IN ('priced', 'partial') THEN parts.input END AS input_cost_usd,
  CASE WHEN status IN ('priced', 'partial') THEN parts.cached END AS cached_cost_usd,
  CASE WHEN status IN ('priced', 'partial') THEN parts.cache_write END AS cache_write_cost_usd,
  CASE WHEN status IN ('priced', 'partial') THEN parts.output END AS output_cost_usd,
  CASE WHEN status IN ('priced', 'partial') THEN parts.other END AS other_cost_usd,
  price.input AS input_token_usd,
  price.cached AS cached_token_usd,
  price.cache_write AS cache_write_token_usd,
  price.output AS output_token_usd,
  price.source AS price_source,
  price.version AS price_version,
  price.digest AS price_digest,
  price.name AS price_name
FROM judged;

-- What was worked out for all that is loaded, each on its own day; and what stands for another model's, without one.
CREATE TABLE stored.costs AS SELECT * FROM stored.computed('stored.rates', NULL, 0, 0);
CREATE TABLE stored.no_what_if (number BIGINT, what_if_cost_usd DECIMAL(38, 12));

-- The exchanges with their costs: columns of `schema.COSTS`. A connection may name tables of its own for them.
CREATE VIEW stored.with_costs AS
SELECT * EXCLUDE (number)
FROM (SELECT rowid AS number, * FROM stored.exchanges)
LEFT JOIN query_table(coalesce(getvariable('costs'), 'stored.costs')) USING (number)
LEFT JOIN query_table(coalesce(getvariable('what_if_costs'), 'stored.no_what_if')) USING (number);

-- The same, or the exchanges without a look at costs where no query wants them.
CREATE VIEW stored.priced AS
SELECT *
FROM query_table(CASE WHEN getvariable('without_costs') THEN 'stored.without_costs' ELSE 'stored.with_costs' END);
