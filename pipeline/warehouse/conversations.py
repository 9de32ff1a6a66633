"""Links exchanges to conversations, in the warehouse and while it is loaded.

The keys that sealing stored with both exchanges show which is the parent; clients do nothing for it. A parent may be in
another recording, or be loaded after its children; then all exchanges are linked again, which is rare. The caller holds
the transaction.
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
# A client may read a response before the recorder sees its end, but not before its last token.
_FRESH = """
CREATE OR REPLACE TEMP TABLE fresh AS
SELECT
  number, exchange_id, started_at, run, client_connection_id, history_keys, answer_keys, message_count,
  prompt_characters,
  started_at + to_microseconds(coalesce(last_token_us, first_byte_us, ended_us, 0)) AS answered_at
FROM """
# Each pass halves the distance to a conversation's start: this is enough for 2 to this power calls.
MOST_PASSES = 64


def link_new(connection: duckdb.DuckDBPyConnection, source: str, parameters: dict[str, Any]) -> bool:
    """Link exchanges that are about to be loaded from `source`, in a temporary table `links`.

    Return whether an exchange that was loaded earlier continues one of them: then `link_all` has to follow.
    """
    sql = sql_statements("link")
    connection.execute(_FRESH + source, parameters)
    connection.execute(sql["add_answers"])
    is_late = connection.execute(sql["late_parents"]).fetchone() is not None
    _link(connection, sql)
    return is_late


def link_all(connection: duckdb.DuckDBPyConnection) -> None:
    """Link all loaded exchanges again."""
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
