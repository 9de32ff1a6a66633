"""`make torture`: kills as often as it is told, and prints what was found. Exit code 1 if anything was wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.run import torture

_SHOWN_PROBLEMS = 20
_SHOWN_CHARACTERS = 400


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="the time, if not given")
    arguments = parser.parse_args()
    sys.stdout.write(f"seed {arguments.seed}, {arguments.kills} kills\n")
    sys.stdout.flush()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        verdict, kills = torture(Path(folder) / "recordings", arguments.kills, arguments.seed)
    sys.stdout.write(f"{verdict.table(kills)}\n{'seconds':<32}{time.monotonic() - began:>12.0f}\n")
    for problem in verdict.problems[:_SHOWN_PROBLEMS]:
        sys.stderr.write(f"{problem[:_SHOWN_CHARACTERS]}\n")
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
