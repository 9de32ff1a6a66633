"""One torture from its start to its verdict."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

from tests.support.processes.recorder import query, tapeline
from tests.torture.books import Books
from tests.torture.comparing import KEPT_SECONDS, ROWS, WITHOUT_CONTENT, Verdict, compare
from tests.torture.killing import KINDS, Killer
from tests.torture.load import Load


def torture(data: Path, kills: int, seed: int, kept_seconds: float = KEPT_SECONDS) -> tuple[Verdict, Counter[str]]:
    """Kill so many times under load, seal and load what is left, and compare it with the books."""
    books = Books()
    with Load(books, seed) as load, Killer(books, data, load.url, seed) as killer:
        load.start_asking(killer.listening)
        for kind in _kinds(kills, seed):
            killer.kill(kind)
        load.stop_asking()
    verdict = compare(books, query(data, ROWS), kept_seconds)
    verdict.problems += _problems_of(data)
    return verdict, killer.kills


def _kinds(kills: int, seed: int) -> list[str]:
    """Every kind about as often, in an order of chance."""
    kinds = [KINDS[number % len(KINDS)] for number in range(kills)]
    Random(seed).shuffle(kinds)
    return kinds


def _problems_of(data: Path) -> list[str]:
    """What is wrong with the whole, beside its single exchanges."""
    problems = [f"lost, as the recorder says: {row}" for row in query(data, "SELECT * FROM losses")]
    if (missing := query(data, WITHOUT_CONTENT)[0]["n"]) > 0:
        problems.append(f"{missing} messages have no content")
    again = tapeline("load", "--data", data)
    if again.stderr or "sealed: 0 exchanges" not in again.stdout or "loaded: 0 exchanges" not in again.stdout:
        problems.append(f"loading again did something: {again.stdout}{again.stderr}")
    left = [path.name for path in (data / "journal").iterdir()]
    left += [path.name for path in data.rglob(".*.tmp")]
    problems += [f"{name} is left over" for name in left]
    log = (data / "seal.log").read_text("utf-8")
    return problems + [f"sealing said: {line}" for line in log.splitlines()]
