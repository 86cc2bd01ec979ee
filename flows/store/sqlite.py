from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.db import connection, transaction

from flows.store.database import Batch, Database, Row
from flows.store.turns import turns, writers


class SQLite(Database):
    """One writer at a time: BEGIN IMMEDIATE is the only lock there is, and all that is needed.

    Who finds it taken would sleep and try again, up to 100 ms at a time; so writers of the hot path
    queue up for their turn first. The clock is this machine's; a SQLite file is never shared
    between machines. Brokers watch `PRAGMA data_version`, so nobody has to wake them.
    """

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with turns.take() if connection.get_autocommit() else nullcontext(), transaction.atomic():
            yield

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall()

    def change(self, sql: str, params: Sequence[Any] = ()) -> int:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.rowcount

    def each(self, batch: Batch, rows: Sequence[Row]) -> None:
        with connection.wrap_database_errors:
            connection.connection.executemany(as_statement_per_row(batch), rows)

    def go_by_keys(self) -> None:
        pass

    def now(self) -> datetime:
        return datetime.now(UTC)

    def wake(self) -> None:
        pass

    def writers(self) -> set[int]:
        return writers(str(connection.settings_dict["NAME"]))


@cache
def as_statement_per_row(batch: Batch) -> str:
    statement, values, where = batch.fill(":")
    return f"{statement} VALUES ({values})" if values else f"{statement} WHERE {where}"
