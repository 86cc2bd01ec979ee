from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.db import connection, transaction

from flows.store.database import Batch, Database, Row


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


@cache
def as_statement_per_row(batch: Batch) -> str:
    statement, values, where = batch.fill(":")
    return f"{statement} VALUES ({values})" if values else f"{statement} WHERE {where}"


class Turns(threading.local):
    """A lock on a file beside the database. The kernel frees it when its holder dies."""

    descriptor: int | None = None
    path = ""

    @contextmanager
    def take(self) -> Iterator[None]:
        if (path := str(connection.settings_dict["NAME"])) != self.path:
            self._open(path)
        if self.descriptor is None:
            yield
            return
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def _open(self, path: str) -> None:
        """Open the file anew: threads and processes that share a descriptor share its lock."""
        if self.descriptor is not None:
            os.close(self.descriptor)
        in_memory = path.startswith("file:") or path == ":memory:"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self.descriptor = None if in_memory else os.open(f"{path}-turn", flags, 0o600)
        self.path = path


turns = Turns()
os.register_at_fork(after_in_child=lambda: setattr(turns, "path", ""))
