from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import cache
from typing import Any

import orjson
import psycopg
from django.db import connection, transaction

from flows.store.database import Batch, Database, Row

CHANNEL = "asyncengine_work"

TYPES = {
    "deliveries": "int",
    "id": "uuid",
    "queue_id": "bigint",
    "run_id": "uuid",
    "started_at": "timestamptz",
    "finished_at": "timestamptz",
    "available_at": "timestamptz",
    "depth": "int",
    "reserved": "int",
    "step_id": "bigint",
    "flow_version_id": "bigint",
    "user_id": "int",
    "priority": "smallint",
    "yes_or_no": "boolean",
    "delayed": "boolean",
    "delayed_starts": "int",
}


class PostgreSQL(Database):
    """A batch travels as one JSON parameter and is one statement."""

    lock_counters = "FOR UPDATE OF s"
    skip_locked = "FOR UPDATE SKIP LOCKED"
    is_taken = "id = ANY(ARRAY(SELECT id FROM taken))"
    bytes_of = "OCTET_LENGTH(body)"

    def transaction(self) -> AbstractContextManager[None]:
        return transaction.atomic()

    def set_up(self) -> AbstractContextManager[None]:
        connection.ensure_connection()
        # A pooler gives a session that is not set up to what stands alone.
        return self.transaction() if getattr(connection, "is_pooled", False) else nullcontext()

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        return self._execute(sql, params).fetchall()

    def change(self, sql: str, params: Sequence[Any] = ()) -> int:
        return self._execute(sql, params).rowcount

    def each(self, batch: Batch, rows: Sequence[Row]) -> None:
        if rows:
            self._execute(as_one_statement(batch), [orjson.dumps(rows).decode()])

    def go_by_keys(self) -> None:
        # Vacuumed while it was empty, the table of messages counts as empty until the next time.
        # Then a batch was joined by reading the whole table for each of its rows. Without seq and
        # index scans the only way left is to look each row up, by a bitmap of its key.
        self._execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off;"
            " SET LOCAL enable_indexonlyscan = off"
        )

    def now(self) -> datetime:
        return self.query("SELECT clock_timestamp()")[0][0]

    def wake(self) -> None:
        self._execute(f"NOTIFY {CHANNEL}")

    def unwritable(self) -> str:
        [(read_only,)] = self.query("SHOW transaction_read_only")
        return "The database is read-only." if read_only == "on" else ""

    def _execute(self, sql: str, params: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        connection.ensure_connection()
        # Django's own cursor would write every body into the text of the statement.
        with connection.wrap_database_errors:
            return psycopg.Cursor(connection.connection).execute(sql, params)


@cache
def as_one_statement(batch: Batch) -> str:
    columns = ", ".join(f"{name} {TYPES.get(name, 'text')}" for name in batch.names())
    rows = f"json_to_recordset(%s::json) AS d({columns})"
    statement, values, where = batch.fill("d.")
    if values:
        return f"{statement} SELECT {values} FROM {rows}"
    joined = "USING" if statement.startswith("DELETE") else "FROM"
    return f"{statement} {joined} {rows} WHERE {where}"
