"""The locked counters of queues, and the totals of flows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC
from typing import Any

from flows.errors import QueueFull
from flows.store import sql
from flows.store.database import Answer, Database
from flows.store.rate_limit import RateLimit
from flows.store.totals import Totals
from flows.store.types import QueueCounters

TOO_MANY_DELAYED = "The first queue of the flow has as many delayed starts as its size."
DELAYED_RETRY_AFTER = 60


class Counters:
    """The counters of the queues and the totals of the flows."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def lock(self, queue_ids: Collection[int]) -> dict[int, QueueCounters]:
        """Lock the counters of queues until the end of the transaction; 0 stands for no queue.

        Those in which the transaction has started runs are locked with them, and their room is
        taken. Raises QueueFull where there is none.
        """
        return self.locked(self.ask_to_lock(queue_ids))

    def ask_to_lock(self, queue_ids: Collection[int]) -> Answer:
        """Send the lock. It is held once `locked` has read the answer."""
        ids = sorted(set(queue_ids) - {0})
        if not ids:
            return list
        marks = ", ".join(["%s"] * len(ids))
        statement = sql.LOCK_COUNTERS.format(
            pending_room=self.database.pending_room,
            pending_delayed=self.database.pending_delayed,
            locks_counters_of=self.database.locks_counters_of.format(ids=marks),
            lock=self.database.lock_counters,
        )
        return self.database.ask(statement, ids)

    def locked(self, answer: Answer) -> dict[int, QueueCounters]:
        rows = answer()
        if any(pending or delayed for pending, delayed, *_ in rows):
            self.database.take_pending_room()
        return {
            id: QueueCounters(depth + pending, *counters[:4], **limits(*counters[4:]))
            for pending, _, id, depth, *counters in rows
        }

    def add(self, counters: dict[int, QueueCounters]) -> None:
        """Write the changes of locked counters."""
        self.database.each(
            sql.ADD_TO_COUNTERS,
            [
                {
                    "queue_id": id,
                    "depth": c.depth_change,
                    "reserved": c.reserved_change,
                    "delayed_starts": c.delayed_change,
                }
                for id, c in counters.items()
                if c.depth_change or c.reserved_change or c.delayed_change
            ],
        )

    def refuse_if_full(self, queue_id: int, count: int) -> None:
        """Raise QueueFull without a lock, so that refusing costs little; `take_room` decides."""
        statement = sql.ROOM.format(pending_room=self.database.pending_room)
        for (room,) in self.database.query(statement, [queue_id]):
            if room < count:
                raise QueueFull(queue_id=queue_id)

    def rooms(self, queue_ids: Collection[int]) -> dict[int, int]:
        """Return how many more messages each of the queues takes now. It takes no lock."""
        ids = sorted(queue_ids)
        statement = sql.ROOMS.format(
            pending_room=self.database.pending_room, ids=", ".join(["%s"] * len(ids))
        )
        return dict(self.database.query(statement, ids))

    def take_room(self, queue_id: int, count: int) -> None:
        """Raises QueueFull where the queue would hold more than its size."""
        if not self.database.change(sql.ADD_DEPTH_WITHIN_SIZE, [count, queue_id, count]):
            raise QueueFull(queue_id=queue_id)

    def refuse_if_too_many_delayed(self, queue_id: int, count: int) -> None:
        """Raise QueueFull without a lock, as `refuse_if_full` does."""
        statement = sql.DELAYED_ROOM.format(pending_delayed=self.database.pending_delayed)
        for (room,) in self.database.query(statement, [queue_id]):
            if room < count:
                raise QueueFull(TOO_MANY_DELAYED, retry_after=DELAYED_RETRY_AFTER)

    def take_room_for_delayed(self, queue_id: int, count: int) -> None:
        """Raises QueueFull where there would be more delayed starts than the queue's size."""
        values = [count, queue_id, count]
        if not self.database.change(sql.ADD_DELAYED_WITHIN_SIZE, values):
            raise QueueFull(TOO_MANY_DELAYED, retry_after=DELAYED_RETRY_AFTER)

    def ask_granted_threads(self, queue_id: int, except_consumer_id: int = 0) -> Answer:
        """Count the threads of a queue that its consumers have; exact under its lock."""
        return self.database.ask(sql.GRANTED_THREADS, [queue_id, except_consumer_id])

    def add_to_totals(self, totals: Mapping[str, Totals]) -> None:
        """Add runs accepted, completed, failed and cancelled, by the name of their flow."""
        changed = {name: changes for name, changes in sorted(totals.items()) if any(changes)}
        if changed:
            self.database.add_to_totals(changed)


def limits(
    count: int | None, period: Any, recent: str, slow_until: Any, cluster: str
) -> dict[str, Any]:
    """Read what bounds the claims of a queue; SQLite gives a time without a zone."""
    if slow_until and slow_until.tzinfo is None:
        slow_until = slow_until.replace(tzinfo=UTC)
    rate = RateLimit.read(count, period, recent) if count else None
    return {"rate_limit": rate, "slow_until": slow_until, "cluster": cluster}
