"""What a commit asks the database for before it reads any answer: all of it in one round trip."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar, NamedTuple, Self

from flows.plan import step_plan
from flows.store import sql
from flows.store.counters import Counters
from flows.store.database import Answer, Database
from flows.store.types import Head, HeldMessage, Lease, QueueCounters
from flows.store.usual import Sorted

# The most queues that are remembered for one queue.
MOST_ROOMS = 8


class SeenQueue(NamedTuple):
    """What matters of a queue that has no limit of its rate and is not slowed down."""

    size: int
    paused: bool
    threads: int
    cluster: str

    @classmethod
    def of(cls, queue: QueueCounters) -> Self:
        return cls(queue.size, queue.paused, queue.threads, queue.cluster)


class Asked:
    """The first message where a session claims, locked counters, and the threads that others have.

    Only the message says which counters its claim needs. Those that earlier claims at this queue
    needed are locked at once, without waiting for it.
    """

    # By queue: those that the outputs of earlier claims might go to. Of the process.
    rooms_of: ClassVar[dict[int, frozenset[int]]] = {}
    # By queue: what was seen of it last; not of queues with a rate limit or slowed down. Of the
    # process.
    seen: ClassVar[dict[int, SeenQueue]] = {}

    def __init__(
        self,
        counters: Counters,
        lease: Lease,
        results: Sorted,
        unfinished: int,
        claim: bool,
    ) -> None:
        self.counters = counters
        self.lease = lease
        self.results = results
        # Beside what is suspected nothing else runs.
        self.claims = claim and not (unfinished and lease.suspects)
        self.goes_on = self.claims and not unfinished
        self.claim_at = claims_at(lease, unfinished)
        self._heads: dict[int, Answer] = {}
        self._threads: dict[int, Answer] = {}
        self._ids: set[int] = set()
        self._locked: Answer | None = None
        if self.claims:
            self._ask_for_head(self.claim_at)
        if not self.claims or self.claim_at in self.rooms_of:
            self._lock(self.rooms_of.get(self.claim_at, ()))

    def found(self) -> tuple[Head | None, dict[int, QueueCounters]]:
        """Return the message that a claim begins with, None for no claim, and what is locked."""
        head = found_head(self._heads.pop(self.claim_at)) if self.claims else None
        rooms = set(head.plan.rooms) - {0} if head else set()
        if self._locked is None:
            self._lock(rooms)
        queues = self.counters.locked(self._locked or list)
        if missing := rooms - self._ids:
            if min(missing) < max(self._ids):
                # Others lock them in another order: it is left for the next claim.
                head = None
            else:
                queues |= self.counters.lock(missing)
        if rooms:
            known = self.rooms_of.get(self.claim_at, frozenset())
            self.rooms_of[self.claim_at] = frozenset(
                rooms | (known if len(known) < MOST_ROOMS else set())
            )
        for id, queue in queues.items():
            if queue.rate_limit or queue.slow_until:
                self.seen.pop(id, None)
            else:
                self.seen[id] = SeenQueue.of(queue)
        return head, queues

    def decided(self, queues: dict[int, QueueCounters], taken: Sequence[HeldMessage]) -> None:
        """Note whether other messages than those that were taken are in any of these queues."""
        there = sum(queue.depth + queue.depth_change for queue in queues.values())
        self.lease.is_alone = there == len(taken)

    def is_awaited(self, queue_id: int) -> bool:
        """Tell whether messages wait in a queue."""
        self._ask_for_head(queue_id)
        return bool(self._heads.pop(queue_id)())

    def threads(self, queue_id: int) -> int:
        """Return the threads that others have of a queue, exact where its counters are locked."""
        self._ask_for_threads(queue_id)
        [(granted,)] = self._threads.pop(queue_id)()
        return granted

    def _lock(self, rooms_of_claim: Collection[int]) -> None:
        """Ask for the counters of all queues that the commit may touch, and what goes with them."""
        ids = {self.lease.queue_id}
        for step_id in self.results.step_ids():
            plan = step_plan(step_id)
            ids.update(plan.rooms)
            # Where messages go that the session carries on itself.
            for way in plan.ways:
                ids.update(step_plan(way.step_id).rooms)
        others = self.results.others
        ids |= {step_plan(r.held.step_id).meets_queue_id for r in others if r.is_branched}
        ids |= {run.queue_id for each in others for run in each.starts}
        if self.claims:
            ids |= {self.lease.home_queue_id, *rooms_of_claim}
        self._ids, self._locked = ids, self.counters.ask_to_lock(ids)
        if self.goes_on and (next_queue_id := self._probable_next()):
            self._ask_on_the_way(next_queue_id)
        elif self.claims:
            self._ask_for_threads(self.claim_at)

    def _probable_next(self) -> int:
        """Return the queue that the session will most likely go on at, 0 for none."""
        first = next(iter(self.results.results), None)
        return first.plan.next_queue_id if first and not first.finishes else 0

    def _ask_on_the_way(self, next_queue_id: int) -> None:
        """Ask for the threads here and there, and for messages that wait there."""
        here, id = self.claim_at, self.lease.consumer_id
        values = [here, id, next_queue_id, id, next_queue_id]
        answer = self.counters.database.ask_now(sql.ON_THE_WAY, values)
        self._threads[here] = lambda: [(answer()[0][0],)]
        self._threads[next_queue_id] = lambda: [(answer()[0][1],)]
        self._heads[next_queue_id] = lambda: answer() if answer()[0][2] else []

    def _ask_for_head(self, queue_id: int) -> None:
        if queue_id not in self._heads:
            self._heads[queue_id] = ask_for_head(self.counters.database, queue_id)

    def _ask_for_threads(self, queue_id: int) -> None:
        if queue_id not in self._threads:
            asked = self.counters.ask_granted_threads(queue_id, self.lease.consumer_id)
            self._threads[queue_id] = asked


def claims_at(lease: Lease, unfinished: int) -> int:
    """Return the queue at which a session takes messages.

    With scripts still running it stays where it is, else it goes back to where it began.
    """
    return lease.queue_id if unfinished else lease.home_queue_id


def ask_for_head(database: Database, queue_id: int, and_which: str = "") -> Answer:
    """Ask for the first message that is ready in the queue, paused or not."""
    columns = "h.step_id, h.priority, h.suspects, h.delayed"
    statement = sql.HEAD.format(columns=columns, queue="%s", now="{now}", and_which=and_which)
    return database.ask_now(statement, [queue_id])


def found_head(answer: Answer) -> Head | None:
    for step_id, priority, suspects, delayed in answer():
        which = f"priority = {priority} AND suspects = {suspects}"
        return Head(step_plan(step_id), which, suspects, bool(delayed))
    return None
