"""What the two databases do differently."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.db import connection

from flows.store.listener import Listener
from flows.store.totals import Totals

if TYPE_CHECKING:
    from flows.store.types import NewRun, Seen

Row = Mapping[str, Any]
# The place of a value in a statement for many rows.
NAME = re.compile(r"{(\w+)}")
# Returns the rows of a statement as tuples.
Answer = Callable[[], list[Any]]


@dataclass(frozen=True)
class BatchStatement:
    """One statement for many rows; `{name}` stands for a value of the row.

    An insert has `values`, an update or delete has `where`. Columns in `where` carry their table.
    """

    statement: str
    values: str = ""
    where: str = ""
    # Rows that agree in this are one; on PostgreSQL alone.
    group: str = ""

    def names(self) -> list[str]:
        """Return the names of the values, in the order of their first use."""
        return list(dict.fromkeys(NAME.findall(str((self.statement, self.values, self.where)))))

    def fill(self, mark: str) -> BatchStatement:
        """Return it with `{name}` written as the mark and the name."""
        return self.put({name: f"{mark}{name}" for name in self.names()})

    def put(self, places: Mapping[str, str]) -> BatchStatement:
        """Return it with what stands for each `{name}`."""
        parts = (self.statement, self.values, self.where, self.group)
        return BatchStatement(*(NAME.sub(lambda found: places[found[1]], part) for part in parts))


@dataclass(slots=True)
class Columns:
    """Rows for a batch by their columns: a list of values, one a row, or one value for all."""

    own: dict[str, list[Any]]
    shared: dict[str, Any]

    @classmethod
    def of(cls, shared: Row, /, **columns: list[Any]) -> Columns:
        """Take columns whose values are all equal for shared ones; the ids are not.

        There is at least one row.
        """
        own, same = {"id": columns.pop("id")}, dict(shared)
        for name, values in columns.items():
            first = values[0]
            if values.count(first) == len(values):
                same[name] = first
            else:
                own[name] = values
        return cls(own, same)


class Database(ABC):
    """What the two databases do differently. Times are written as text, see `sql_time`."""

    # Whether the commit counts starts in their queues and in the totals. Those of
    # `store_starts_as_seen` are counted by their statement.
    counts_with_commit = False
    # Begins a transaction that reads, and sees what is committed then and nothing later.
    begin_snapshot = "BEGIN DEFERRED"
    # Put behind a SELECT that locks counters (as `s`).
    lock_counters = ""
    # Put behind a SELECT of rows: it leaves out those that another session has locked.
    skip_locked = ""
    # Which counters (as `s`) to lock for these ids, and what the transaction's own starts have not
    # taken yet: room, and room for delayed ones.
    locks_counters_of = "s.queue_id IN ({ids})"
    pending_room = "0"
    pending_delayed = "0"
    # How a statement picks the rows whose ids it has put into `taken`.
    is_taken = "id IN (SELECT id FROM taken)"
    # How many bytes a body has, in UTF-8.
    bytes_of = "LENGTH(CAST(body AS BLOB))"

    @abstractmethod
    def transaction(self, pipelined: bool = False) -> AbstractContextManager[None]:
        """Return a block that is one transaction, or a savepoint of the one that is open.

        `pipelined`: what `write` and `each` execute may fail later, at a query or the commit; and
        rows are found by indexes, whatever the planner says. Code of a project must not run in it.
        """

    def sends_ahead(self) -> bool:
        """Tell whether the next pipelined transaction may be sent before any answer."""
        return False

    def limit_transaction(self) -> None:
        """Limit how long the transaction that is open may rest, and wait for locks."""
        return

    @abstractmethod
    def listener(self) -> Listener:
        """Return what waits for the commits of others."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See the database as it is now, whatever others commit meanwhile.

        Within a transaction: as that sees it.
        """
        if not connection.get_autocommit():
            yield
            return
        # Not Django's transaction: on SQLite that is one of a writer and keeps all others waiting.
        with connection.cursor() as cursor:
            cursor.execute(self.begin_snapshot)
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")

    def set_up(self) -> AbstractContextManager[None]:
        """Have a statement run as sessions are set up, in a transaction where that needs one."""
        return nullcontext()

    @abstractmethod
    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of a statement as tuples."""

    def query_now(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        """Do the same for a statement in which `{now}` stands for the clock."""
        now, rest, values = sql_time(self.now()), iter(params), list[Any]()
        for number, part in enumerate(sql.split("{now}")):
            values += [now] if number else []
            values += islice(rest, part.count("%s"))
        return self.query(sql.replace("{now}", "%s"), values)

    def ask(self, sql: str, params: Sequence[Any] = ()) -> Answer:
        """Do the same as `query`, but wait for the rows when the answer is called.

        So several statements take one round trip, where the transaction is pipelined.
        """
        rows = self.query(sql, params)
        return lambda: rows

    def ask_now(self, sql: str, params: Sequence[Any] = ()) -> Answer:
        """Do the same as `query_now`, as `ask` does."""
        rows = self.query_now(sql, params)
        return lambda: rows

    def look_up(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        """Do the same for rows found by their keys: the session may keep the plan."""
        return self.query(sql, params)

    @abstractmethod
    def see(self, sql: str, params: Sequence[Any] = ()) -> tuple[list[Any], Seen | None]:
        """Return rows as `look_up` does, and what tells later whether the row is unchanged.

        That is None where there is not exactly one row, or the connection cannot start runs by it.
        The rows may have one more column, the digest.
        """

    @abstractmethod
    def seen_alone(self, sql: str, value: str) -> Seen:
        """Return a `Seen` of a row with one value, which is known as text and not read."""

    @abstractmethod
    def is_as_seen(self, seen: Seen) -> bool:
        """Tell whether a statement gives the same row as it did."""

    def look(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        """Do the same as `query_now` for a statement that is asked again and again, alone.

        The session may keep its plan, which goes by indexes.
        """
        with self.set_up():
            return self.query_now(sql, params)

    def write(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Execute a statement; the number of rows that it changes is not asked for."""
        self.change(sql, params)

    @abstractmethod
    def change(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Return how many rows were changed."""

    @abstractmethod
    def each(self, batch: BatchStatement, rows: Sequence[Row] | Columns) -> None:
        """Execute a statement for each of the rows, which may be none."""

    @abstractmethod
    def store_starts(self, runs: Sequence[NewRun], at: str) -> None:
        """Insert runs with their first messages. They start at the time `at`."""

    @abstractmethod
    def store_starts_as_seen(self, seen: Seen, runs: Sequence[NewRun]) -> bool:
        """Insert runs with their first messages, count them, and commit, all in one go.

        The runs are of one flow and of one queue. Nothing is stored, and false returned, where the
        row has changed, the queue has no room for all of them, or one statement cannot do it here.
        """

    @abstractmethod
    def add_to_totals(self, totals: Mapping[str, Totals]) -> None:
        """Add to the totals of flows, in the order of their names."""

    @abstractmethod
    def take_pending_room(self) -> None:
        """Take the room of the transaction's own starts. Raises QueueFull."""

    @abstractmethod
    def go_by_keys(self) -> None:
        """Have the rest of the transaction find every row by its key, whatever the planner says."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the clock that leases and waiting times go by."""

    def time_of_start(self) -> str:
        """Return the time for the starts of the next transaction, as a value of a column."""
        return sql_time(self.now())

    def clock_has_jumped(self) -> bool:
        """Tell whether the clock was set, and is not followed yet."""
        return False

    def settle_clock(self) -> tuple[datetime, datetime] | None:
        """Follow a clock that was set, once it has stayed so; return the time before and after."""
        return None

    @abstractmethod
    def wake(self) -> None:
        """Tell the brokers, with the commit, that there may be work."""

    def end_frozen(self) -> None:
        """End the sessions of processes that have frozen while they sent statements."""
        return

    @abstractmethod
    def unwritable(self) -> str:
        """Return why nothing can be written now; empty where it can, as far as one can tell."""

    def writers(self) -> set[int]:
        """Return the processes that keep all others from writing while they are stopped."""
        return set()


def sql_time(at: datetime) -> str:
    """Write a time in UTC as Django does in SQLite; always in full, so that texts sort as times."""
    return at.astimezone(UTC).isoformat(" ", "microseconds")[:26]


def sql_time_of_epoch(seconds: float) -> str:
    """Write a time in epoch seconds as `sql_time` does."""
    whole = int(seconds)
    micros = round((seconds - whole) * 1_000_000)
    if micros == 1_000_000:
        whole, micros = whole + 1, 0
    return f"{_second(whole)}.{micros:06}"


@lru_cache(maxsize=64)
def _second(epoch: int) -> str:
    """Write a whole second: the times of a batch lie in few of them."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(" ")[:19]


def read_time(at: datetime | str) -> datetime:
    """Read a time from a column. An expression gives text on SQLite, as `sql_time` writes it."""
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
