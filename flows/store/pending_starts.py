"""Starts that a transaction has made and not counted yet, on PostgreSQL.

The single statement of `Store.start_as_seen` counts its starts itself. Any other start locks no
counter: its caller may go on with the transaction for long, and all
workers of the queue and all other starts would wait for it. It notes what it needs in a row of its
own. A trigger that is deferred to the COMMIT takes the room of all starts of the transaction, in
the order of the queues, and adds them to the totals, in the order of the flows' names: so two
transactions never wait for each other crosswise. Messages, depth and totals are seen together.

No row survives the transaction that wrote it, so the table is not logged. What needs exact counters
earlier, a commit of a worker or a cancellation, asks for them with `flows_take_room`.
"""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from flows.errors import QueueFullAtCommit

# The SQLSTATE of a queue that would hold more than its size.
QUEUE_FULL = "QF001"

# How a transaction finds its own rows; NULL, and none are found, where it has written nothing yet.
OWN = "xid = pg_current_xact_id_if_assigned()"

TABLE = """
    CREATE UNLOGGED TABLE IF NOT EXISTS flows_pendingstart (
        xid xid8 NOT NULL, queue_id bigint NOT NULL, room integer NOT NULL,
        delayed integer NOT NULL, flow_name varchar(100) NOT NULL, accepted integer NOT NULL)
    WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
    CREATE INDEX IF NOT EXISTS pending_start_of ON flows_pendingstart (xid);
"""

# Their rows are found by the index, though the table counts as empty; names are those of the
# schema that the tables are in, whatever the caller's search_path says.
ATTRIBUTES = "LANGUAGE plpgsql SET enable_seqscan = off SET search_path FROM CURRENT"

# Bounded: it raises where a queue would hold more than its size.
TAKE = f"""
    UPDATE flows_queuestate s
    SET depth = s.depth + pending.room, delayed = s.delayed + pending.delayed
    FROM flows_queue q
    WHERE q.id = s.queue_id AND s.queue_id = pending.queue_id
        AND (pending.room = 0 OR s.depth + s.reserved + pending.room <= q.size)
        AND (pending.delayed = 0 OR s.delayed + pending.delayed <= q.size);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The queue of a run that was started is full.'
            USING ERRCODE = '{QUEUE_FULL}', DETAIL = pending.queue_id;
    END IF;
"""

TAKE_ROOM = f"""
    CREATE OR REPLACE FUNCTION flows_take_room() RETURNS void {ATTRIBUTES} AS $$
    DECLARE pending record;
    BEGIN
        FOR pending IN
            SELECT queue_id, SUM(room) AS room, SUM(delayed) AS delayed FROM flows_pendingstart
            WHERE {OWN} AND room + delayed > 0 GROUP BY queue_id ORDER BY queue_id
        LOOP {TAKE} END LOOP;
        UPDATE flows_pendingstart SET room = 0, delayed = 0 WHERE {OWN} AND room + delayed > 0;
    END $$
"""

# Called once for each row; the first call does it for all. It tells brokers of the queues with new
# messages, as far as one notification takes them; "" has brokers look at all queues.
COUNT_STARTS = f"""
    CREATE OR REPLACE FUNCTION flows_count_starts() RETURNS trigger {ATTRIBUTES} AS $$
    DECLARE own flows_pendingstart[]; pending record; told text;
    BEGIN
        WITH counted AS (DELETE FROM flows_pendingstart p WHERE {OWN} RETURNING p)
        SELECT array_agg(p), string_agg(DISTINCT (p).queue_id::text, ' ') INTO own, told
        FROM counted;
        IF own IS NULL THEN
            RETURN NULL;
        END IF;
        FOR pending IN
            SELECT queue_id, SUM(room) AS room, SUM(delayed) AS delayed FROM unnest(own)
            WHERE room + delayed > 0 GROUP BY queue_id ORDER BY queue_id
        LOOP {TAKE} END LOOP;
        INSERT INTO flows_flowtotals (flow_name, accepted, completed, failed, cancelled)
        SELECT flow_name, SUM(accepted), 0, 0, 0 FROM unnest(own)
        WHERE accepted > 0 GROUP BY flow_name ORDER BY flow_name COLLATE "C"
        ON CONFLICT (flow_name) DO UPDATE
            SET accepted = flows_flowtotals.accepted + excluded.accepted;
        PERFORM pg_notify('asyncengine_work', CASE WHEN length(told) < 1000 THEN told ELSE '' END);
        RETURN NULL;
    END $$
"""

HAS_TRIGGER = """
    SELECT 1 FROM pg_trigger WHERE tgrelid = 'flows_pendingstart'::regclass
    AND tgname = 'flows_starts_are_counted'
"""

TRIGGER = """
    CREATE CONSTRAINT TRIGGER flows_starts_are_counted AFTER INSERT ON flows_pendingstart
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION flows_count_starts()
"""


def queue_full(error: BaseException) -> QueueFullAtCommit | None:
    """Return the error of a queue that had no room for the starts of a transaction; None: other."""
    cause: Any = error.__cause__
    if getattr(cause, "sqlstate", None) != QUEUE_FULL:
        return None
    return QueueFullAtCommit(queue_id=int(cause.diag.message_detail or 0) or None)


def install(connection: BaseDatabaseWrapper) -> None:
    """Make the table, its functions and its trigger where they are missing."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        for statement in (TABLE, TAKE_ROOM, COUNT_STARTS):
            cursor.execute(statement)
        cursor.execute(HAS_TRIGGER)
        if not cursor.fetchone():
            cursor.execute(TRIGGER)


def ensure_installed(using: str, **kwargs: Any) -> None:
    """Do it after each `migrate`, so that the functions are those of this code."""
    install(connections[using])
