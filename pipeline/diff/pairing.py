"""Pairs the exchanges of two sides and compares them character by character, in DuckDB.

Only texts and arguments that differ leave the database, in batches; `compare` decides what a difference means.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import duckdb

from ..errors import UsageError
from ..warehouse.query import Filters, Prices, coverage, showing
from ..warehouse.sql_files import sql_statements
from ..wire.json_text import loads
from .compare import MOST_OWN
from .result import Pair, Texts, Unpaired

if TYPE_CHECKING:
    import polars as pl

#: The values of `--match` that are not the name of a column, and the columns they stand for; `LAST_USER` has none.
MATCHES = {"request": "request_fingerprint", "messages": "messages_fingerprint"}
LAST_USER = "last-user"
_BATCH = 2_000


class Pairing:
    """The exchanges of two sides, paired, in temporary tables of a connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, match: str) -> None:
        self._connection = connection
        self._sql = sql_statements("diff")
        self._column = self._column_of(match)
        self._run("side_exchanges")

    def add_side(self, side: str, filters: Filters, prices: Prices) -> dict[str, Any]:
        """Use the exchanges under the filters as a side, and return their coverage."""
        with showing(self._connection, filters, prices):
            if self._column is None:
                self._run("keys_by_last_user")
            else:
                self._run("keys_by_column", column=self._column)
            self._run("add_side", side=side)
        return coverage(self._connection, filters)

    def pair(self) -> None:
        """Pair exchanges by key and order of occurrence, and compare each pair."""
        for name in ("pairs", "repeated", "choice_texts", "facets", "differences"):
            self._run(name)

    def pairs(self) -> list[Pair]:
        return [Pair(*row) for row in self._run("all_pairs").fetchall()]

    def unpaired(self) -> list[Unpaired]:
        return [Unpaired(*row) for row in self._run("unpaired").fetchall()]

    def basis(self) -> dict[str, int]:
        """Count the pairs that could not be compared in full, and those for which BASE has several responses."""
        result = self._run("basis")
        names = [column[0] for column in result.description or []]
        return dict(zip(names, result.fetchone() or (), strict=True))

    def named_differences(self) -> Iterator[tuple[Any, ...]]:
        """Yield pair, choice, kind, base's value, candidate's value, whether BASE also has the candidate's value."""
        return self._rows("named_differences")

    def own_texts(self) -> Iterator[tuple[Any, ...]]:
        """Yield key, choice, kind and BASE's own texts, for repeated keys with texts that differ."""
        return self._rows("own_texts", most=MOST_OWN)

    def texts_that_differ(self) -> Iterator[tuple[Any, ...]]:
        """Yield pair, key, choice, kind, whether BASE also has the candidate's text, base's text, candidate's text."""
        return self._rows("texts_that_differ")

    def figures(self) -> pl.DataFrame:
        """Return the numbers of both sides for each figure, one row a pair, in the order of the pairs."""
        import polars as pl

        return pl.DataFrame(self._connection.sql(self._sql["figures"])).cast(pl.Float64)

    def prompts(self, pairs: list[int]) -> dict[int, str | None]:
        """Return the text of the last message of the user, by pair."""
        return dict(self._run("shown_prompts", pairs=pairs).fetchall())

    def texts(self, pairs: list[int]) -> dict[int, list[Texts]]:
        """Return the texts and calls of both sides, by pair."""
        texts: dict[int, list[Texts]] = {number: [] for number in pairs}
        for pair, choice, *sides in self._run("shown_texts", pairs=pairs).fetchall():
            base, candidate = (
                {"text": side[0], "refusal": side[1], "calls": loads(side[2])} for side in _halves(sides)
            )
            texts[pair].append(Texts(choice, base, candidate))
        return texts

    def _column_of(self, match: str) -> str | None:
        if match == LAST_USER:
            return None
        columns = [row[0] for row in self._connection.execute("DESCRIBE exchanges").fetchall()]
        column = MATCHES.get(match, match)
        if column not in columns:
            raise UsageError(
                f"--match {match!r} is neither {', '.join((*MATCHES, LAST_USER))} nor a column of exchanges "
                "(`tapeline sql 'DESCRIBE exchanges'` lists them)."
            )
        return column

    def _rows(self, name: str, **parameters: Any) -> Iterator[tuple[Any, ...]]:
        result = self._run(name, **parameters)
        while rows := result.fetchmany(_BATCH):
            yield from rows

    def _run(self, name: str, **parameters: Any) -> duckdb.DuckDBPyConnection:
        return self._connection.execute(self._sql[name], parameters or None)


def _halves(values: list[Any]) -> tuple[list[Any], list[Any]]:
    middle = len(values) // 2
    return values[:middle], values[middle:]
