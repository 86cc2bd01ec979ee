"""The store on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any

import orjson
import psycopg
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections, transaction

from flows.encryption.payload_keys import as_stored, as_stored_column
from flows.models.users import key_field
from flows.store import sql as statements
from flows.store.database import Answer, BatchStatement, Columns, Database, Row
from flows.store.listener import PostgreSQLListener
from flows.store.pending_starts import OWN, queue_full
from flows.store.rows import start_row
from flows.store.totals import Totals
from flows.store.types import NewRun, Seen

CHANNEL = "asyncengine_work"

TYPES = {
    "deliveries": "int",
    "id": "uuid",
    "queue_id": "bigint",
    "run_id": "uuid",
    "created_at": "timestamptz",
    "started_at": "timestamptz",
    "finished_at": "timestamptz",
    "available_at": "timestamptz",
    "depth": "int",
    "input_bytes": "int",
    "reserved": "int",
    "step_id": "bigint",
    "flow_version_id": "bigint",
    "priority": "smallint",
    "parent": "uuid",
    "start_depth": "smallint",
    "bypasses_pause": "boolean",
    "delayed": "boolean",
    "delayed_starts": "int",
}


# A process that froze in a transaction of the engine's, or lost its network, keeps its locks no
# longer than a lease; no other one waits for a lock that long. They end with the transaction: those
# of the project have the limits that the project gives them.
LIMITS = (
    "SELECT set_config('idle_in_transaction_session_timeout', '10s', true),"
    " set_config('lock_timeout', '5s', true)"
)

# The same for a statement that is a transaction of its own, with what is done at its commit. There
# it is never idle.
LIMITS_OF_ONE = "SELECT set_config('lock_timeout', '5s', true) AS lock_timeout"
# The text of a row has all its values, and keeps them apart. Only its digest is sent: the server
# may log values.
DIGEST = "encode(sha256(convert_to(seen::text, 'UTF8')), 'hex')"
SEEN = f"SELECT seen.*, {DIGEST} FROM ({{statement}}) AS seen"
AS_SEEN = f"FROM ({{statement}}) AS seen WHERE {DIGEST} = %s"

# What is read then is found by an index: its plan is kept, and may have been made when a table was
# empty. One plan does for all values: where the planner thinks that others are cheaper, it would
# plan each statement anew, which takes longer than most of them run.
LIMITS_BY_INDEXES = (
    f"{LIMITS}, set_config('enable_seqscan', 'off', true),"
    " set_config('enable_bitmapscan', 'off', true),"
    " set_config('plan_cache_mode', 'force_generic_plan', true)"
)

# Between the statements of a pipeline the server waits for its client without end.
END_FROZEN = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND state = 'active'
        AND wait_event = 'ClientRead' AND state_change < clock_timestamp() - interval '5 s'
        AND query NOT ILIKE 'copy%%'
"""

PLAN_GONE = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.FeatureNotSupported)

# See flows/store/pending_starts.py.
PENDING_START = BatchStatement(
    "INSERT INTO flows_pendingstart (xid, queue_id, room, delayed, flow_name, accepted)",
    values="pg_current_xact_id(), {queue_id}, COUNT(*) FILTER (WHERE NOT {delayed}),"
    " COUNT(*) FILTER (WHERE {delayed}), {flow_name}, COUNT(*)",
    group="{queue_id}, {flow_name}",
)
START = (statements.INSERT_RUN, statements.INSERT_MESSAGE, PENDING_START)

# A statement that is a transaction of its own counts its starts itself: its locks last until it
# ends, and no longer.
TAKE_ROOM = """
    UPDATE flows_queuestate s SET depth = s.depth + %s::int FROM limits, flows_queue q
    WHERE q.id = s.queue_id AND s.queue_id = %s::bigint
        AND s.depth + s.reserved + %s::int <= q.size
    RETURNING pg_notify('asyncengine_work', s.queue_id::text)
"""
ADD_ACCEPTED = """
    INSERT INTO flows_flowtotals (flow_name, accepted, completed, failed, cancelled)
    SELECT %s, %s::int, 0, 0, 0 FROM taken
    ON CONFLICT (flow_name) DO UPDATE SET accepted = flows_flowtotals.accepted + excluded.accepted
"""

# With the starts of the same transaction, so that the totals of all flows are locked in one order.
ADD_TOTALS = f"""
    WITH added AS (
        SELECT * FROM json_to_recordset(%s::json) AS e(
            flow_name text, accepted bigint, completed bigint, failed bigint, cancelled bigint,
            reopened bigint, letters_made bigint, letters_decided bigint)
        UNION ALL
        SELECT flow_name, accepted, 0, 0, 0, 0, 0, 0 FROM flows_pendingstart WHERE {OWN}),
    counted AS (UPDATE flows_pendingstart SET accepted = 0 WHERE {OWN})
    INSERT INTO flows_flowtotals (flow_name, accepted, completed, failed, cancelled, reopened,
        letters_made, letters_decided)
    SELECT flow_name, SUM(accepted), SUM(completed), SUM(failed), SUM(cancelled), SUM(reopened),
        SUM(letters_made), SUM(letters_decided)
    FROM added GROUP BY flow_name ORDER BY flow_name COLLATE "C"
    {statements.ADD_TO_TOTALS}
"""


class PostgreSQL(Database):
    """A batch travels as one JSON parameter and is one statement."""

    counts_with_commit = True
    locks_counters_of = f"""s.queue_id = ANY(ARRAY[{{ids}}]::bigint[] || ARRAY(
        SELECT queue_id FROM flows_pendingstart WHERE {OWN} AND room + delayed > 0))"""
    pending_room = f"""(SELECT COALESCE(SUM(p.room), 0)::int FROM flows_pendingstart p
        WHERE {OWN} AND p.queue_id = s.queue_id)"""
    pending_delayed = pending_room.replace("p.room", "p.delayed")
    begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    lock_counters = "FOR UPDATE OF s"
    skip_locked = "FOR UPDATE SKIP LOCKED"
    is_taken = "id = ANY(ARRAY(SELECT id FROM taken))"
    bytes_of = "OCTET_LENGTH(body)"

    @contextmanager
    def transaction(self, pipelined: bool = False) -> Iterator[None]:
        is_own = connection.get_autocommit()
        with transaction.atomic():
            if is_own and pipelined and self._begin_pipeline():
                self.write(LIMITS_BY_INDEXES)
            elif is_own:
                self.limit_transaction()
            yield

    def sends_ahead(self) -> bool:
        return commits_one(connections[DEFAULT_DB_ALIAS])

    def _begin_pipeline(self) -> bool:
        own: Any = connections[DEFAULT_DB_ALIAS]
        # Django's own backend cannot.
        if hasattr(own, "begin_pipeline"):
            own.begin_pipeline()
        return pipeline_of(own) is not None

    def listener(self) -> PostgreSQLListener:
        return PostgreSQLListener(CHANNEL)

    def limit_transaction(self) -> None:
        self.write(LIMITS)

    def set_up(self) -> AbstractContextManager[None]:
        connection.ensure_connection()
        # A pooler gives a session that is not set up to what stands alone.
        return self.transaction() if getattr(connection, "is_pooled", False) else nullcontext()

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        return self.ask(sql, params)()

    def query_now(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        return self.ask_now(sql, params)()

    def ask(self, sql: str, params: Sequence[Any] = ()) -> Answer:
        own: Any = connections[DEFAULT_DB_ALIAS]
        if (pipeline := pipeline_of(own)) is None:
            rows = self._execute(sql, params).fetchall()
            return lambda: rows
        with own.wrap_database_errors:
            sent = pipeline.send(sql, params)

        def answer() -> list[Any]:
            with own.wrap_database_errors:
                return pipeline.rows(sent)

        return answer

    def ask_now(self, sql: str, params: Sequence[Any] = ()) -> Answer:
        # Stable within the statement, so that an index is used. In a transaction it goes on.
        return self.ask(sql.replace("{now}", "statement_timestamp()"), params)

    def look_up(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        if pipeline_of(connections[DEFAULT_DB_ALIAS]) is not None:
            return self.query(sql, params)
        try:
            return self._execute(sql, params, prepare=True).fetchall()
        except DatabaseError as error:
            # In this order: Django connects anew to tell whether it is in a transaction.
            if not (is_plan_gone(error) and connection.get_autocommit()):
                raise
        connection.close()
        return self.query(sql, params)

    def see(self, sql: str, params: Sequence[Any] = ()) -> tuple[list[Any], Seen | None]:
        rows = self.look_up(SEEN.format(statement=sql), params)
        is_used = len(rows) == 1 and commits_one(connections[DEFAULT_DB_ALIAS])
        return rows, Seen(sql, params, rows[0][-1]) if is_used else None

    def seen_alone(self, sql: str, value: str) -> Seen:
        return Seen(sql, (), sha256(f"({value})".encode()).hexdigest())

    def is_as_seen(self, seen: Seen) -> bool:
        condition = f"SELECT 1 {AS_SEEN.format(statement=seen.statement)}"
        return bool(self.look_up(condition, [*seen.params, seen.row]))

    def look(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        # Where plans are kept, and made without scans of tables that are empty at that time.
        with self.transaction(pipelined=True):
            return self.query_now(sql, params)

    def write(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        own: Any = connections[DEFAULT_DB_ALIAS]
        if (pipeline := pipeline_of(own)) is None:
            self._execute(sql, params)
            return
        with own.wrap_database_errors:
            pipeline.send(sql, params)

    def change(self, sql: str, params: Sequence[Any] = ()) -> int:
        own: Any = connections[DEFAULT_DB_ALIAS]
        if (pipeline := pipeline_of(own)) is None:
            return self._execute(sql, params).rowcount
        with own.wrap_database_errors:
            return pipeline.changed(pipeline.send(sql, params))

    def each(self, batch: BatchStatement, rows: Sequence[Row] | Columns) -> None:
        if isinstance(rows, Columns):
            self._columns(batch, rows)
        elif rows:
            self.write(as_one_statement(batch), [orjson.dumps(as_stored(rows)).decode()])

    def _columns(self, batch: BatchStatement, rows: Columns) -> None:
        arrays = {n: array(n, as_stored_column(n, values)) for n, values in rows.own.items()}
        shared = {n: as_stored_column(n, [value])[0] for n, value in rows.shared.items()}
        self.write(as_statement_of_columns(batch, tuple(arrays)), shared | arrays)

    def store_starts(self, runs: Sequence[NewRun], at: str) -> None:
        params = [orjson.dumps(as_stored([start_row(run, at) for run in runs])).decode()]
        own: Any = connections[DEFAULT_DB_ALIAS]
        if commits_one(own):
            own.commit_one(as_one_statement_of(START, LIMITS_OF_ONE), params)
            return
        with self.transaction():
            self.write(as_one_statement_of(START), params)

    def store_starts_as_seen(self, seen: Seen, runs: Sequence[NewRun]) -> bool:
        own: Any = connections[DEFAULT_DB_ALIAS]
        if not commits_one(own):
            return False
        first, count, at = runs[0], len(runs), self.time_of_start()
        rows = orjson.dumps(as_stored([start_row(run, at) for run in runs])).decode()
        room = [count, first.queue_id, count]
        params = [*seen.params, seen.row, *room, rows, first.flow_name, count]
        return bool(own.commit_one(as_start_as_seen(seen.statement), params))

    def add_to_totals(self, totals: Mapping[str, Totals]) -> None:
        rows = [{"flow_name": name, **asdict(changes)} for name, changes in totals.items()]
        self.write(ADD_TOTALS, [orjson.dumps(rows).decode()])

    def take_pending_room(self) -> None:
        try:
            self.query("SELECT flows_take_room()")
        except DatabaseError as error:
            if full := queue_full(error):
                raise full from error
            raise

    def go_by_keys(self) -> None:
        # Vacuumed while it was empty, the table of messages counts as empty until the next time.
        # Then a batch was joined by reading the whole table for each of its rows. Without seq and
        # index scans the only way left is to look each row up, by a bitmap of its key.
        self.write(
            "SELECT set_config('enable_seqscan', 'off', true),"
            " set_config('enable_indexscan', 'off', true),"
            " set_config('enable_indexonlyscan', 'off', true),"
            " set_config('enable_bitmapscan', 'on', true)"
        )

    def now(self) -> datetime:
        return self.query("SELECT clock_timestamp()")[0][0]

    def time_of_start(self) -> str:
        # PostgreSQL reads "now" as the beginning of the transaction, without a question. In a
        # transaction of the caller's that may be long ago.
        return "now" if connection.get_autocommit() else super().time_of_start()

    def wake(self) -> None:
        self.write(f"NOTIFY {CHANNEL}")

    def end_frozen(self) -> None:
        self.query(END_FROZEN)

    def unwritable(self) -> str:
        [(read_only,)] = self.query("SHOW transaction_read_only")
        return "The database is read-only." if read_only == "on" else ""

    def _execute(
        self,
        sql: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        prepare: bool | None = None,
    ) -> psycopg.Cursor[Any]:
        # Looked up once: each access by way of `connection` takes as long as a small statement.
        own: Any = connections[DEFAULT_DB_ALIAS]
        own.ensure_connection()
        # Django's own cursor would write every body into the text of the statement.
        with own.wrap_database_errors:
            return psycopg.Cursor(own.connection).execute(sql, params, prepare=prepare)


def commits_one(own: Any) -> bool:
    """Tell whether a statement may be a transaction of its own now.

    Django's own backend cannot; a session of a pooler is set up in each transaction.
    """
    return hasattr(own, "commit_one") and own.get_autocommit() and not own.is_pooled


def pipeline_of(own: Any) -> Any:
    """Return what the statements of the transaction that is open travel in, None where in nothing.

    Django's own backend has none.
    """
    return getattr(own, "pipeline", None)


def is_plan_gone(error: DatabaseError) -> bool:
    """Tell whether a prepared statement was deallocated, or a column has another type now."""
    return isinstance(error.__cause__, PLAN_GONE)


@cache
def as_one_statement(batch: BatchStatement) -> str:
    rows = recordset(batch.names())
    batch = batch.fill("d.")
    if batch.values:
        return f"{batch.statement} SELECT {batch.values} FROM {rows}"
    joined = "USING" if batch.statement.startswith("DELETE") else "FROM"
    return f"{batch.statement} {joined} {rows} WHERE {batch.where}"


@cache
def as_statement_of_columns(batch: BatchStatement, own: Sequence[str]) -> str:
    """Return it for rows that are given by columns; those in `own` have arrays."""
    arrays = ", ".join(f"%({name})s::{type_of(name)}[]" for name in own)
    rows = f"unnest({arrays}) AS d({', '.join(own)})"
    places = {
        name: f"d.{name}" if name in own else f"%({name})s::{type_of(name)}"
        for name in batch.names()
    }
    batch = batch.put(places)
    if batch.values:
        return f"{batch.statement} SELECT {batch.values} FROM {rows}"
    joined = "USING" if batch.statement.startswith("DELETE") else "FROM"
    return f"{batch.statement} {joined} {rows} WHERE {batch.where}"


def array(name: str, values: Sequence[Any]) -> str:
    """Write values as PostgreSQL writes an array of the type that they have."""
    if type_of(name) != "text":
        return "{" + ",".join(["NULL" if v is None else f'"{v}"' for v in values]) + "}"
    return "{" + ",".join(["NULL" if v is None else quoted(v) for v in values]) + "}"


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@cache
def as_one_statement_of(batches: tuple[BatchStatement, ...], limits: str = "") -> str:
    """Return inserts of the same rows as one statement.

    From the first row on its transaction is bound by the `limits`, a SELECT.
    """
    names = list(dict.fromkeys(name for batch in batches for name in batch.names()))
    inserts = [batch.fill("d.") for batch in batches]
    selects = [
        f"{insert.statement} SELECT {insert.values} FROM d"
        + (f" GROUP BY {insert.group}" if insert.group else "")
        for insert in inserts
    ]
    parts = [f"limits AS MATERIALIZED ({limits})"] if limits else []
    rows = f"{'limits, ' if limits else ''}{recordset(names)}"
    parts.append(f"d AS MATERIALIZED (SELECT * FROM {rows})")
    parts += [f"insert_{number} AS ({select})" for number, select in enumerate(selects[:-1])]
    return f"WITH {', '.join(parts)} {selects[-1]}"


@cache
def as_start_as_seen(statement: str) -> str:
    """Return what stores and counts starts where a statement gives the row that it gave before."""
    names = dict.fromkeys((*statements.INSERT_RUN.names(), *statements.INSERT_MESSAGE.names()))
    run, message = statements.INSERT_RUN.fill("d."), statements.INSERT_MESSAGE.fill("d.")
    return (
        f"WITH limits AS MATERIALIZED ({LIMITS_OF_ONE} {AS_SEEN.format(statement=statement)}),"
        f" taken AS ({TAKE_ROOM}),"
        f" d AS MATERIALIZED (SELECT d.* FROM taken, {recordset(list(names))}),"
        f" totals AS ({ADD_ACCEPTED}),"
        f" run AS ({run.statement} SELECT {run.values} FROM d)"
        f" {message.statement} SELECT {message.values} FROM d"
    )


def recordset(names: Sequence[str]) -> str:
    columns = ", ".join(f"{name} {type_of(name)}" for name in names)
    return f"json_to_recordset(%s::json) AS d({columns})"


def type_of(name: str) -> str:
    """Return the type of a value; that of a user's key follows AUTH_USER_MODEL."""
    if name == "user_id":
        return str(key_field().db_type(connection))
    return TYPES.get(name, "text")
