"""The store on SQLite."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import chain, repeat
from operator import itemgetter
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from flows.encryption.payload_keys import as_stored, as_stored_column
from flows.store import sql
from flows.store.clock import machine_clock
from flows.store.database import (
    NAME,
    BatchStatement,
    Columns,
    Database,
    Row,
)
from flows.store.listener import SQLiteListener
from flows.store.rows import start_columns, start_row
from flows.store.totals import Totals
from flows.store.troubles import Trouble, trouble_of
from flows.store.types import NewRun, Seen
from flows.store.write_lock import write_lock, writers

# A disk with less than this has no room for the next commits.
LEAST_FREE_BYTES = 1024 * 1024
# An insert of some rows costs half of an insert for each. SQLite before 3.32 takes 999 values.
ROWS_PER_INSERT = 50


class SQLite(Database):
    """One writer at a time: BEGIN IMMEDIATE is the only lock there is, and all that is needed.

    A writer that finds it taken would sleep and try again, up to 100 ms at a time; so the writers
    of the hot path queue up for a file lock first. The clock is this machine's, see `clock`; a
    SQLite file is never shared between machines. Brokers watch `PRAGMA data_version`, and need no
    other wake-up.
    """

    @contextmanager
    def transaction(self, pipelined: bool = False) -> Iterator[None]:
        with (
            write_lock.take() if connection.get_autocommit() else nullcontext(),
            transaction.atomic(),
        ):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be a transaction of SQLite's own, past Django, whose takes several times as long.

        None may be open.
        """
        connection.ensure_connection()
        raw: sqlite3.Connection = connection.connection
        with write_lock.take(), connection.wrap_database_errors:
            raw.execute("BEGIN IMMEDIATE")
            try:
                yield
                raw.execute("COMMIT")
            except BaseException:
                raw.rollback()
                raise

    def listener(self) -> SQLiteListener:
        return SQLiteListener()

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        with connection.wrap_database_errors:
            return self._execute(sql, params).fetchall()

    def see(self, sql: str, params: Sequence[Any] = ()) -> tuple[list[Any], Seen | None]:
        rows = self.query(sql, params)
        return rows, Seen(sql, params, rows[0]) if len(rows) == 1 else None

    def seen_alone(self, sql: str, value: str) -> Seen:
        return Seen(sql, (), (value,))

    def is_as_seen(self, seen: Seen) -> bool:
        return self.query(seen.statement, seen.params) == [seen.row]

    def change(self, sql: str, params: Sequence[Any] = ()) -> int:
        with connection.wrap_database_errors:
            return self._execute(sql, params).rowcount

    def _execute(self, sql: str, params: Sequence[Any]) -> sqlite3.Cursor:
        connection.ensure_connection()
        # Django's own cursor would translate the statement each time, at twice the cost of it all.
        raw: sqlite3.Connection = connection.connection
        return raw.execute(with_question_marks(sql), params)

    def each(self, batch: BatchStatement, rows: Sequence[Row] | Columns) -> None:
        if isinstance(rows, Columns):
            self._columns(batch, rows)
        elif rows:
            self._each(batch, as_stored(rows))

    def _columns(self, batch: BatchStatement, rows: Columns) -> None:
        own = {name: as_stored_column(name, values) for name, values in rows.own.items()}
        shared = {name: as_stored_column(name, [value]) for name, value in rows.shared.items()}
        values = [own[name] if name in own else repeat(*shared[name]) for name in places_of(batch)]
        self._execute_many(batch, list(zip(*values)))  # noqa: B905  (those of `repeat` have no end)

    def _each(self, batch: BatchStatement, rows: Sequence[Row]) -> None:
        self._execute_many(batch, list(map(values_of(batch), rows)))

    def _execute_many(self, batch: BatchStatement, values: Sequence[Sequence[Any]]) -> None:
        with connection.wrap_database_errors:
            raw: sqlite3.Connection = connection.connection
            if batch.values and (together := len(values) // ROWS_PER_INSERT * ROWS_PER_INSERT):
                raw.executemany(
                    as_statement(batch, ROWS_PER_INSERT),
                    [
                        list(chain.from_iterable(values[first : first + ROWS_PER_INSERT]))
                        for first in range(0, together, ROWS_PER_INSERT)
                    ],
                )
                values = values[together:]
            if len(values) == 1:
                raw.execute(as_statement(batch), values[0])
            else:
                raw.executemany(as_statement(batch), values)

    def store_starts(self, runs: Sequence[NewRun], at: str) -> None:
        for columns in start_columns(runs, at):
            self._columns(sql.INSERT_RUN, columns)
            self._columns(sql.INSERT_MESSAGE, columns)

    def store_starts_as_seen(self, seen: Seen, runs: Sequence[NewRun]) -> bool:
        first, count, at = runs[0], len(runs), self.time_of_start()
        rows = as_stored([start_row(run, at) for run in runs])
        with self.alone():
            if not self.is_as_seen(seen):
                return False
            if not self.change(sql.ADD_DEPTH_WITHIN_SIZE, [count, first.queue_id, count]):
                return False
            self._each(sql.INSERT_RUN, rows)
            self._each(sql.INSERT_MESSAGE, rows)
            self.change(sql.ADD_FLOW_TOTALS, [first.flow_name, *Totals(accepted=count)])
        return True

    def add_to_totals(self, totals: Mapping[str, Totals]) -> None:
        for flow_name, changes in totals.items():
            self.change(sql.ADD_FLOW_TOTALS, [flow_name, *changes])

    def take_pending_room(self) -> None:
        pass

    def go_by_keys(self) -> None:
        pass

    def now(self) -> datetime:
        return datetime.fromtimestamp(machine_clock().epoch(), UTC)

    def clock_has_jumped(self) -> bool:
        return machine_clock().has_jumped

    def settle_clock(self) -> tuple[datetime, datetime] | None:
        settled = machine_clock().settle()
        if settled is None:
            return None
        before, after = (datetime.fromtimestamp(epoch, UTC) for epoch in settled)
        return before, after

    def wake(self) -> None:
        pass

    def unwritable(self) -> str:
        path = Path(str(connection.settings_dict["NAME"]))
        if not path.is_file():
            # In memory, or just being looked for by all.
            return ""
        if shutil.disk_usage(path.parent).free < LEAST_FREE_BYTES:
            return "The disk with the database is full."
        # SQLite itself would begin a transaction that only reads.
        files = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]
        if any(each.exists() and not os.access(each, os.W_OK) for each in files):
            return "The user of this process may not write the files of the database."
        return self._refusal(path)

    def _refusal(self, path: Path) -> str:
        """Ask for the right to write, on a connection that does not wait for it."""
        try:
            with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as file:
                file.execute("BEGIN IMMEDIATE")
                file.execute("ROLLBACK")
        except sqlite3.Error as error:
            # Where another writes, writing is possible.
            return "" if trouble_of(error) is Trouble.BUSY else f"The database refuses: {error}."
        return ""

    def writers(self) -> set[int]:
        return writers(str(connection.settings_dict["NAME"]))


@lru_cache(maxsize=1024)
def with_question_marks(sql: str) -> str:
    """Write the places of values as SQLite does."""
    return sql.replace("%%", "\0").replace("%s", "?").replace("\0", "%")


@cache
def as_statement(batch: BatchStatement, rows: int = 1) -> str:
    """Return the statement for one row, or an insert for some, with places for their values."""
    batch = BatchStatement(*(NAME.sub("?", part) for part in parts_of(batch)))
    if batch.values:
        return f"{batch.statement} VALUES " + ", ".join([f"({batch.values})"] * rows)
    return f"{batch.statement} WHERE {batch.where}"


@cache
def values_of(batch: BatchStatement) -> Callable[[Row], Sequence[Any]]:
    """Return what takes the values out of a row, in the order of their places."""
    names = places_of(batch)
    # Of one name it would take the value itself.
    return itemgetter(*names) if len(names) > 1 else lambda row: [row[names[0]]]


@cache
def places_of(batch: BatchStatement) -> list[str]:
    """Return the names of the values, in the order of their places."""
    return NAME.findall(" ".join(parts_of(batch)))


def parts_of(batch: BatchStatement) -> tuple[str, str, str]:
    return batch.statement, batch.values, batch.where
