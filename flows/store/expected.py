"""What a session expects the database to answer: then a commit takes one round trip, not two.

On PostgreSQL a commit of few usual deliveries does not wait for what it asks. It decides by what
was seen of the queues before; the database compares that with what is so now, under the same locks,
before it commits. Where anything differs it rolls back, and the session asks and commits again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar, Self

import orjson
from django.db import DatabaseError

from flows.models.run_marks import has_deadline
from flows.plan import step_plan
from flows.store import sql
from flows.store.asked import Asked, SeenQueue
from flows.store.counters import Counters
from flows.store.types import HeldMessage, Lease, QueueCounters
from flows.store.usual import Sorted

# With more deliveries the round trip is a small part of the commit.
FEW = 8
# How long a process asks at a queue after an expectation there was wrong.
ASKS_SECONDS = 10.0
# The most by which the clock of the database may differ from what this process takes it for.
CLOCK_SECONDS = 1.0

# The SQLSTATE of a division by zero.
UNEXPECTED = "22012"

# In the order of the ids, as in LOCK_COUNTERS. The transaction has started no runs.
LOCK = """
    SELECT depth FROM flows_queuestate WHERE queue_id = ANY(%s::bigint[])
    ORDER BY queue_id FOR UPDATE
"""

# Fails where the lease is gone or a run of it was cancelled, where a clock was set, where a queue
# is not as expected or lacks room for what is reserved there, where messages wait, and where others
# have the threads that the lease is to have.
AS_EXPECTED = f"""
    /* Where this divides by zero, a worker commits again: others have changed what it expected. */
    SELECT 1 / CASE WHEN
        EXISTS (SELECT 1 FROM flows_consumer WHERE id = %s AND NOT cancel_requested)
        AND ABS(EXTRACT(EPOCH FROM statement_timestamp()) - %s::float8) < {CLOCK_SECONDS}
        AND %s::int = (
            SELECT COUNT(*)
            FROM json_to_recordset(%s::json) AS e(queue_id bigint, size int, paused boolean,
                threads int, cluster text, most_used int)
            JOIN flows_queuestate s ON s.queue_id = e.queue_id
            JOIN flows_queue q ON q.id = s.queue_id
            LEFT JOIN flows_step t ON t.queue_id = q.id
            LEFT JOIN flows_flow f ON f.id = t.flow_id
            WHERE q.size = e.size AND {sql.PAUSED} = e.paused AND q.cluster = e.cluster
                AND COALESCE(t.threads, 1) = e.threads AND q.rate_count IS NULL
                AND s.slow_until IS NULL
                AND (e.most_used IS NULL OR s.depth + s.reserved <= e.most_used))
        AND NOT EXISTS ({sql.HEAD.format(columns="1", queue="%s", now="{now}", and_which="")})
        AND COALESCE(({sql.GRANTED_THREADS}) <= %s::int, TRUE)
    THEN 1 ELSE 0 END
"""


class Expected(Asked):
    """Answers as a session expects them: nothing waits, and nothing has changed."""

    # By queue until when a process asks there, by the monotonic clock.
    asks_until: ClassVar[dict[int, float]] = {}

    def __init__(self, counters: Counters, lease: Lease, results: Sorted) -> None:
        self.counters, self.lease, self.results = counters, lease, results
        self.claims = self.goes_on = True
        self.claim_at = lease.home_queue_id
        self._before = lease.queue_id, lease.threads
        self.now = datetime.fromtimestamp(time.time() + lease.clock_skew_seconds, UTC)
        self._ids = {lease.queue_id, lease.home_queue_id, *self._rooms()}

    @classmethod
    def of(
        cls, counters: Counters, lease: Lease, results: Sorted, unfinished: int, claim: bool
    ) -> Self | None:
        """Return what may be expected; None: the commit has to ask."""
        is_simple = (
            claim
            and lease.is_alone
            and not (unfinished or results.others or lease.suspects or lease.has_rate)
            and not (lease.cancel_requested or lease.one_at_a_time_until)
            and len(results.usual) == 1
            and len(results.results) <= FEW
            and cls.asks_until.get(lease.queue_id, 0.0) < time.monotonic()
            and not any(has_deadline(each.held.run_id) for each in results.results)
        )
        if not is_simple or not counters.database.sends_ahead():
            return None
        expected = cls(counters, lease, results)
        return expected if expected._ids <= cls.seen.keys() else None

    def _rooms(self) -> set[int]:
        """Return the queues after this step and after those that it may go on at."""
        [group] = self.results.usual
        rooms = set(group.plan.rooms)
        for way in group.plan.ways:
            rooms.update(step_plan(way.step_id).rooms)
        return rooms

    def found(self) -> tuple[None, dict[int, QueueCounters]]:
        self._depths = self.counters.database.ask(LOCK, [[*self._ids]])
        seen = [(id, self.seen[id]) for id in self._ids]
        return None, {id: QueueCounters(0, 0, **each._asdict()) for id, each in seen}

    def is_awaited(self, queue_id: int) -> bool:
        return False

    def threads(self, queue_id: int) -> int:
        return 0

    def decided(self, queues: dict[int, QueueCounters], taken: Sequence[HeldMessage]) -> None:
        """Have the transaction fail where not all is as it is expected."""
        lease, reserved, free = self.lease, set[int](), None
        if taken:
            reserved = set(step_plan(taken[0].step_id).rooms)
            free = queues[lease.queue_id].threads - lease.threads
        rows = [row_of(id, queues[id], id in reserved) for id in self._ids]
        values = [lease.consumer_id, self.now.timestamp(), len(rows), orjson.dumps(rows).decode()]
        # Where nothing is taken, no message may wait at the queue where the session would claim.
        waiting_at = lease.queue_id if taken else self.claim_at
        values += [waiting_at, lease.queue_id, lease.consumer_id, free]
        self.counters.database.ask_now(AS_EXPECTED, values)
        self._left = len(taken) - sum(queue.depth_change for queue in queues.values())

    def committed(self) -> None:
        """Note whether it may be expected again: nothing else is in these queues."""
        self.lease.is_alone = sum(depth for (depth,) in self._depths()) == self._left

    def was_wrong(self) -> None:
        """Undo what the commit has changed of the lease, and ask for a while."""
        self.lease.queue_id, self.lease.threads = self._before
        self.asks_until[self.lease.queue_id] = time.monotonic() + ASKS_SECONDS


def row_of(id: int, queue: QueueCounters, is_reserved: bool) -> dict[str, object]:
    change = queue.depth_change + queue.reserved_change
    return {
        "queue_id": id,
        **SeenQueue.of(queue)._asdict(),
        "most_used": queue.size - change if is_reserved else None,
    }


def is_unexpected(error: DatabaseError) -> bool:
    """Tell whether a commit was rolled back because something was not as expected."""
    return getattr(error.__cause__, "sqlstate", None) == UNEXPECTED
