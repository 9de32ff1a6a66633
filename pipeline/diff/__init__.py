"""`tapeline diff`: whether the responses of two recordings differ, and by more than they differ from one another.

    run        the whole comparison, step by step; what BASE and CANDIDATE mean
    pairing    pairs exchanges and compares them character by character, in DuckDB
    compare    compares two texts or two lists of calls in detail, and tells noise from change
    words      splits texts into words, and finds those that differ
    figures    tokens, cost and time of both sides, with intervals
    rules      the rules of `--fail-on`, on which the exit code depends
    result     the values that all of these make
    formats    the formats of output

`compare`, `words`, `figures`, `rules` and `result` turn values into values: they read no database and no file.
"""
