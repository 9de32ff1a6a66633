"""Links exchanges to conversations, in the warehouse and while it is loaded.

An exchange's parent is found by the keys that `history` gave both: no client has to help. It may be in another
recording, or be loaded later than its children; then all is linked anew, which is rare. The caller's transaction
holds it all.
"""

from __future__ import annotations

from typing import Any

import duckdb

from .sql_files import sql_statements

TABLES = """
CREATE TABLE stored.answers (
  key BIGINT, exchange_id VARCHAR, answered_at TIMESTAMPTZ, run VARCHAR, client_connection_id VARCHAR,
  message_count BIGINT, prompt_characters BIGINT
);
CREATE TABLE stored.unlinked (key BIGINT, started_at TIMESTAMPTZ);
"""
# A client may have read an answer before the recorder sees the end of it, but not before its last token.
_FRESH = """
CREATE OR REPLACE TEMP TABLE fresh AS
SELECT
  number, exchange_id, started_at, run, client_connection_id, history_keys, answer_keys, message_count,
  prompt_characters,
  started_at + to_microseconds(coalesce(last_token_us, first_byte_us, ended_us, 0)) AS answered_at
FROM """
# With each pass the way to a conversation's start is halved: nobody has heard of one as long as 2 to this power.
MOST_PASSES = 64


def link_new(connection: duckdb.DuckDBPyConnection, source: str, parameters: dict[str, Any]) -> bool:
    """Link exchanges that are about to be loaded from `source`, which numbers them: makes the temporary table `links`.

    True when an exchange that was loaded earlier goes on from one of them: `link_all` has to follow the load then.
    """
    sql = sql_statements("link")
    connection.execute(_FRESH + source, parameters)
    connection.execute(sql["add_answers"])
    is_late = connection.execute(sql["late_parents"]).fetchone() is not None
    _link(connection, sql)
    return is_late


def link_all(connection: duckdb.DuckDBPyConnection) -> None:
    """Link everything that is loaded anew."""
    sql = sql_statements("link")
    connection.execute(_FRESH + "(SELECT *, rowid AS number FROM stored.exchanges)")  # noqa: S608 - our own names
    connection.execute("DELETE FROM stored.unlinked")
    _link(connection, sql)
    connection.execute(sql["relink"])


def _link(connection: duckdb.DuckDBPyConnection, sql: dict[str, str]) -> None:
    for name in ("answered", "longest", "asked", "shorter", "answers", "parents", "remember_unlinked", "steps"):
        connection.execute(sql[name])
    for _ in range(MOST_PASSES):
        if connection.execute(sql["may_climb"]).fetchone() is None:
            break
        connection.execute(sql["climb"])
    connection.execute(sql["links"])
