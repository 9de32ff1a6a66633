"""Fuzzing of the code that reads bodies, guided by coverage: `make fuzz`.

`properties` defines what an input is and what must hold for any input. `mutation` changes an input so that its JSON
stays JSON. `__main__` has Atheris try inputs for a number of seconds, beginning with `tests/data/streams` and
`tests/data/fuzz_corpus`. The corpus has the inputs that reach code which no other input reaches; `test_corpus` replays
it without Atheris.
"""
