"""`tapeline diff`: whether the answers of two recordings differ, and beyond what they differ by themselves.

    sides      what was typed as BASE and CANDIDATE
    pairing    pairs answers and compares them to the character, in DuckDB
    compare    the finer look at two texts, or at the arguments of two calls; `words` is how texts are likened
    noise      what differs no more than BASE's own answers do
    figures    tokens, cost and time of both sides, with intervals
    rules      what the exit code hangs on
    result     the values that these make
    run        calls them in order
    as_*       the forms of output, in `wording`'s words

`compare`, `words`, `noise`, `figures`, `rules` and `result` take values and give values.
"""
