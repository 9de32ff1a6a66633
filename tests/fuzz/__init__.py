"""Fuzzing of the core that reads bodies, guided by coverage: `make fuzz`.

`properties` says what must hold for any input, and what an input is; `mutation` changes one in a way that leaves it
JSON; running this package (`__main__`) has Atheris try inputs from `tests/streams` and from `corpus`, for so many
seconds. Inputs that read a part of the code that no other does are kept in `corpus`, which `tests/test_fuzz_corpus.py`
replays without Atheris.
"""
