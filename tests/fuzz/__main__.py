"""Has Atheris check the properties with many inputs; an input that fails is left in the working folder.

    python -m tests.fuzz --seconds 600     try inputs, beginning with the corpus and those of earlier runs
    python -m tests.fuzz --keep            replace the corpus by the fewest inputs that still reach all code
    python -m tests.fuzz FILE              try one input again

Atheris has no wheel for every Python that the project supports, so it is installed in a folder of its own (see the
Makefile).
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import atheris

from tests.support.places import DATA

with atheris.instrument_imports(include=["tapeline"]):
    from tests.fuzz.properties import PLAIN, SEPARATOR, check

from tapeline.pipeline.demo.workload import WORKLOAD
from tests.fuzz.mutation import Mutator
from tests.support.journals.strategies import SCRAPS

CORPUS = DATA / "fuzz_corpus"
STREAMS = DATA / "streams"
# An input takes some milliseconds; after this time it counts as hanging.
HANGS_AFTER_SECONDS = 10
MAX_INPUT_BYTES = 2048
# Every second input is changed as bytes, the others as JSON.
_BYTES_EVERY = 2
_AGAIN = "--again"


def main() -> None:
    # libFuzzer starts this program again, with options of its own, to read each of many inputs in its own process.
    program, options = (sys.argv[0], sys.argv[2:]) if sys.argv[1:2] == [_AGAIN] else _prepared(_arguments())
    mutator = Mutator([*(path.read_bytes() for path in STREAMS.glob("*.sse")), *_requests()])

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        if seed % _BYTES_EVERY:
            return mutator.mutate(data, seed)[:max_size]
        changed: bytes = atheris.Mutate(data, max_size)
        return changed

    atheris.Setup([program, *options], _check, custom_mutator=mutate)
    atheris.Fuzz()


def _check(data: bytes) -> None:
    check(data)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("input", nargs="?", type=Path)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--work", type=Path, default=Path(".fuzz"))
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


def _prepared(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the program and the options for libFuzzer, and write the files that they name."""
    work: Path = arguments.work.absolute()
    found, seeds = work / "found", work / "seeds"
    for folder in (CORPUS, found, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    _write_seeds(seeds)
    options = [
        f"-timeout={HANGS_AFTER_SECONDS}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-artifact_prefix={work}/",
        f"-dict={_write_words(work / 'words')}",
        "-print_final_stats=1",
    ]
    if arguments.input is not None:
        options.append(str(arguments.input))
    elif arguments.keep:
        # Without counters, which count how often code is reached, few inputs reach all code.
        options += ["-use_counters=0", "-set_cover_merge=1", str(CORPUS), str(found), str(seeds)]
    else:
        options += [f"-max_total_time={arguments.seconds}", str(found), str(CORPUS), str(seeds)]
    return str(_write_program(work / "again")), options


def _write_program(path: Path) -> Path:
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {__package__} {_AGAIN} "$@"\n')
    path.chmod(0o755)
    return path


def _write_seeds(folder: Path) -> None:
    """Write inputs to begin with: every stream of the test data, each after one of the demo's requests."""
    requests = _requests()
    for number, path in enumerate(sorted(STREAMS.glob("*.sse"))):
        (folder / path.stem).write_bytes(PLAIN + requests[number % len(requests)] + SEPARATOR + path.read_bytes())


def _requests() -> list[bytes]:
    return [json.dumps(call.body).encode() for call in WORKLOAD]


def _write_words(path: Path) -> Path:
    """Write libFuzzer's dictionary, the words that it inserts."""
    words = ("".join(f"\\x{byte:02x}" for byte in scrap) for scrap in (*SCRAPS, SEPARATOR))
    path.write_text("".join(f'"{word}"\n' for word in words if word))
    return path


if __name__ == "__main__":
    main()
