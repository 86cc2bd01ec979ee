"""Up to which id the rows of a table are complete, while transactions commit out of order.

A stream of events goes by the ids of rows, which a sequence gives when a row is inserted. Another
process sees a row when its transaction commits, and that is another order: the row 7 may come
after the row 9. A reader that has seen 9 and goes on behind it would never see 7.

So a reader goes no further than all ids are decided. An id is decided when its row is there, or can
never come: its transaction was rolled back, or the row was deleted. This needs no clock and no
guess of how long a commit may take:

- An insert locks the table (ROW EXCLUSIVE) before it takes an id, and keeps the lock to its end. So
  a transaction that has an id and has not ended is among those that hold this lock.
- Its commit is visible to others before its lock is released.
- Ids are given in order, one at a time (a sequence without a cache, as Django makes it). If 9 is
  there, 7 was given before.

A look reads who holds the lock and then the rows, in this order, each with a snapshot of its own.
If ids are missing below the last one that it finds, the next look notes who holds the lock. As soon
as none of these holds it any more, the rows that are read after that are all that ever come. Long
transactions of others, or of other tables, delay nothing.

SQLite has one writer, which gets its ids and commits before the next one begins. There every id
below the last one is decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection, models

# The most rows of one look; the next one goes on behind them.
MOST_ROWS = 5_000

WRITERS = """
    SELECT DISTINCT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted
        AND relation = %s::regclass
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


LAST_GIVEN = {
    "postgresql": "SELECT pg_sequence_last_value(pg_get_serial_sequence(%s, 'id')::regclass)",
    "sqlite": "SELECT seq FROM sqlite_sequence WHERE name = %s",
}


def last_id_given(model: type[models.Model]) -> int:
    """Return the last id that the table has given, whatever became of its row; 0: none yet."""
    with connection.cursor() as cursor:
        cursor.execute(LAST_GIVEN[connection.vendor], [model._meta.db_table])
        row = cursor.fetchone()
    return int(row[0]) if row and row[0] else 0


@dataclass
class Undecided:
    """Ids up to `last` are missing. `writers` may still have some; None: not asked yet."""

    last: int
    writers: frozenset[str] | None = None


class Settled:
    """Follows a table: `upto` is an id up to which all are decided, None before that is known."""

    def __init__(self, model: type[models.Model], *columns: str) -> None:
        self._model = model
        self._columns = columns
        self._undecided: Undecided | None = None
        self.upto: int | None = None

    def look(self) -> list[Any]:
        """Move `upto` on; return these columns of the rows that it has passed."""
        writers = self._writers() if self._undecided else frozenset[str]()
        if self.upto is None:
            self._begin(writers)
            return []
        rows = self._rows_after(self.upto)
        self._go_on([row[0] for row in rows], writers)
        return [row[1:] for row in rows if row[0] <= self.upto]

    def _begin(self, writers: frozenset[str]) -> None:
        """Find a first id: one that was there before all transactions that go on now."""
        if self._undecided is None:
            last = self._model._base_manager.aggregate(last=models.Max("pk"))["last"] or 0
            self._undecided = Undecided(last)
            writers = self._writers()
        self._wait_for(writers)
        if not self._undecided.writers:
            self.upto, self._undecided = self._undecided.last, None

    def _rows_after(self, id: int) -> list[Any]:
        rows = self._model._base_manager.filter(pk__gt=id).order_by("pk")
        return list(rows.values_list("pk", *self._columns)[:MOST_ROWS])

    def _go_on(self, ids: list[int], writers: frozenset[str]) -> None:
        assert self.upto is not None
        if connection.vendor == "sqlite":
            self.upto = ids[-1] if ids else self.upto
            return
        if self._undecided:
            self._wait_for(writers)
            if not self._undecided.writers:
                decided = self._undecided.last
                self.upto = min(decided, ids[-1]) if len(ids) == MOST_ROWS else decided
        # The ids that follow without a gap.
        for id in ids:
            if id == self.upto + 1:
                self.upto = id
        if self._undecided and self.upto >= self._undecided.last:
            self._undecided = None
        if self._undecided is None and ids and ids[-1] > self.upto:
            self._undecided = Undecided(ids[-1])

    def _wait_for(self, writers: frozenset[str]) -> None:
        assert self._undecided is not None
        noted = self._undecided.writers
        self._undecided.writers = writers if noted is None else noted & writers

    def _writers(self) -> frozenset[str]:
        """Return the transactions that may have ids of rows that are not visible yet."""
        if connection.vendor == "sqlite":
            return frozenset()
        with connection.cursor() as cursor:
            cursor.execute(WRITERS, [self._model._meta.db_table])
            return frozenset(row[0] for row in cursor.fetchall())
