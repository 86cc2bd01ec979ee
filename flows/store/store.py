"""Start, claim, commit, release and bury messages: each public method is one transaction.

Locks are always taken in this order, so that two sessions never wait for each other: the own
consumer, the counters of the queues by id, messages, runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flows.errors import LeaseLost, QueueFull
from flows.models import Consumer, DeadLetter
from flows.plan import StepPlan, step_plan
from flows.store import sql
from flows.store.database import Database, moment
from flows.store.work import Counters, Done, Fate, Held, Lease, NewRun, Ready, Settlement

# How many messages of this step a session with so many threads takes at once.
BatchSize = Callable[[StepPlan, int], int]


class Store:
    def __init__(self, database: Database) -> None:
        self.database = database

    # --- start -----------------------------------------------------------------------------

    def start(self, runs: Sequence[NewRun]) -> None:
        """Store runs of one flow version with their first messages. Raises QueueFull."""
        with self.database.transaction():
            now = moment(self.database.now())
            self.database.each(sql.INSERT_RUN, [new_run_row(run, now) for run in runs])
            self.database.each(sql.INSERT_MESSAGE, [message_row(run, now) for run in runs])
            # The counter comes last: starts wait for each other only while they commit.
            self._take_room(runs[0].queue_id, len(runs))
            self.database.wake()

    def put_back(self, run_id: UUID, step_id: int, queue_id: int, body: str) -> None:
        """Let a message wait at a step again and its run go on. Raises QueueFull."""
        run = NewRun(run_id, 0, step_id, queue_id, body, None)
        with self.database.transaction():
            now = moment(self.database.now())
            self.database.each(sql.REOPEN_RUN, [{"id": run_id.hex}])
            self.database.each(sql.INSERT_MESSAGE, [message_row(run, now)])
            self._take_room(queue_id, 1)
            self.database.wake()

    def _take_room(self, queue_id: int, count: int) -> None:
        if not self.database.change(sql.ADD_DEPTH_WITHIN_SIZE, [count, queue_id, count]):
            raise QueueFull(retry_after=1)

    # --- consumers -------------------------------------------------------------------------

    def ready(self) -> list[Ready]:
        """Return every queue with what the broker needs to choose one."""
        return [
            Ready(*row)
            for row in self.database.query(sql.READY_QUEUES, [moment(self.database.now())])
        ]

    def open_consumer(self, queue_id: int, wanted: int, cluster: str, host: str) -> int | None:
        """Grant up to `wanted` threads of the queue to a new consumer; None if none is free."""
        with self.database.transaction():
            counters = self._lock_counters([queue_id]).get(queue_id)
            if counters is None or counters.paused:
                return None
            threads = min(wanted, counters.threads - self._granted_threads(queue_id, 0))
            if threads < 1:
                return None
            now = self.database.now()
            return Consumer.objects.create(
                queue_id=queue_id,
                threads=threads,
                cluster=cluster,
                host=host,
                created_at=now,
                heartbeat_at=now,
            ).pk

    def begin(self, consumer_id: int, pid: int) -> Lease:
        """Start the lease of a consumer that the broker has opened. Raises LeaseLost."""
        begun = Consumer.objects.filter(pk=consumer_id, pid=None).update(
            pid=pid, heartbeat_at=self.database.now()
        )
        consumer = Consumer.objects.filter(pk=consumer_id).first()
        if not begun or consumer is None:
            raise LeaseLost
        return Lease(consumer_id, consumer.queue_id, consumer.queue_id, consumer.threads)

    def heartbeat(self, lease: Lease) -> datetime:
        """Renew the lease and return the database's time. Raises LeaseLost."""
        now = self.database.now()
        if not self.database.change(sql.RENEW_LEASE, [moment(now), lease.consumer_id]):
            raise LeaseLost
        return now

    def held(self, lease: Lease) -> list[Held]:
        """Return what the lease holds, and learn again where it is. Raises LeaseLost."""
        with self.database.transaction():
            self.heartbeat(lease)
            consumer = Consumer.objects.get(pk=lease.consumer_id)
            lease.queue_id, lease.threads = consumer.queue_id, consumer.threads
            return [Held(*row) for row in self.database.query(sql.HELD, [lease.consumer_id])]

    def close(self, lease: Lease) -> None:
        """End a lease; what it still holds waits again, its delivery not counted."""
        with self.database.transaction():
            if self.database.change(sql.END_LEASE, [lease.consumer_id]):
                self._release(lease.consumer_id, uncounted=1)
        lease.closed = True

    def reap(
        self, host: str, alive: Callable[[int], bool], lease: timedelta, begin: timedelta
    ) -> None:
        """End the leases of consumers that died: by their pid here, elsewhere by their heartbeat.

        `begin` is how long an opened consumer may wait for a worker. The messages wait again;
        their deliveries stay counted, so that a message that kills workers is buried in the end.
        """
        now = self.database.now()
        for consumer in Consumer.objects.all():
            pid, seen_at = consumer.pid, consumer.heartbeat_at
            died = pid is not None and consumer.host == host and not alive(pid)
            if died or seen_at < now - (begin if pid is None else lease):
                with self.database.transaction():
                    if self.database.change(sql.END_LEASE_SEEN, [consumer.pk, moment(seen_at)]):
                        self._release(consumer.pk, uncounted=0)

    def _release(self, consumer_id: int, uncounted: int) -> None:
        steps = self.database.query(sql.HELD_STEPS, [consumer_id])
        plans = [(step_plan(step_id), count) for step_id, count in steps]
        settlement = Settlement(self._lock_counters({plan.next_queue_id for plan, _ in plans}))
        for plan, count in plans:
            settlement.reserve(plan, -count)
        self._add_to_counters(settlement.counters)
        now = moment(self.database.now())
        self.database.change(sql.RELEASE, [now, uncounted, consumer_id])
        self.database.wake()

    # --- one commit of a session -----------------------------------------------------------

    def commit(
        self, lease: Lease, done: Sequence[Done], unfinished: int, batch: BatchSize, claim: bool
    ) -> list[Held]:
        """Store what happened, hand the outputs over and take what the session does next.

        All in one transaction. With nothing unfinished the session goes on with the messages it
        has just handed over where the next queue's threads allow it, else with new ones of the
        queue it began at; where there are none either, its lease ends. With messages unfinished
        it claims up to its batch size where it is. `claim` false: it takes nothing new.
        Raises LeaseLost, and then nothing is stored.
        """
        with self.database.transaction():
            now = self.heartbeat(lease)
            plans = {d.held.step_id: step_plan(d.held.step_id) for d in done}
            claim_at = lease.queue_id if unfinished else lease.home_id
            head = self._head(claim_at, now) if claim else None
            settlement = Settlement(self._lock_for(lease, plans.values(), head))
            self._settle(settlement, lease, done, plans)
            taken = self._carry(settlement, lease, batch, now) if claim and not unfinished else []
            self._write(settlement, lease, done, now)
            if head and not taken:
                taken = self._claim(settlement, lease, claim_at, head, batch, unfinished, now)
            self._add_to_counters(settlement.counters)
            ended = not taken and not unfinished
            if ended:
                self.database.change(sql.END_LEASE, [lease.consumer_id])
                self.database.wake()
        lease.closed = ended
        return taken

    def _head(self, queue_id: int, now: datetime) -> StepPlan | None:
        """Return the plan of the first message that is ready in the queue."""
        rows = self.database.query(sql.HEAD_STEP, [queue_id, moment(now)])
        return step_plan(rows[0][0]) if rows else None

    def _lock_for(
        self, lease: Lease, plans: Iterable[StepPlan], head: StepPlan | None
    ) -> dict[int, Counters]:
        """Lock the counters of every queue that this commit may touch."""
        ids = {lease.queue_id}
        for plan in plans:
            if plan.next_step_id:
                ids |= {plan.next_queue_id, step_plan(plan.next_step_id).next_queue_id}
        if head:
            ids |= {lease.home_id, head.next_queue_id}
        return self._lock_counters(ids)

    def _settle(
        self, s: Settlement, lease: Lease, done: Sequence[Done], plans: dict[int, StepPlan]
    ) -> None:
        """Decide where each message goes and count it there."""
        for d in done:
            plan = plans[d.held.step_id]
            s.reserve(plan, -1)
            if d.fate is Fate.PASSED and plan.next_step_id and plan.next_queue_id not in s.counters:
                d.fate, d.reason = Fate.BURIED, DeadLetter.Reason.NO_QUEUE.value
                d.error = "The queue of the next step no longer exists."
            if d.fate is Fate.AGAIN:
                s.again.append(d)
                continue
            s.counters[lease.queue_id].depth_change -= 1
            if d.fate is Fate.BURIED:
                s.buried.append(d)
            elif plan.next_step_id is None:
                s.completed.append(d)
            else:
                s.counters[plan.next_queue_id].depth_change += 1
                s.handed.append((d.held, d.output, plan.next_step_id, plan.next_queue_id))

    def _carry(self, s: Settlement, lease: Lease, batch: BatchSize, now: datetime) -> list[Held]:
        """Keep messages that were just handed over, and move the lease to their queue."""
        if not s.handed:
            return []
        _, _, step_id, queue_id = s.handed[0]
        # Those that wait there came first.
        if s.counters[queue_id].paused or self._head(queue_id, now):
            return []
        plan, threads = step_plan(step_id), self._movable_threads(s, lease, queue_id)
        count = min(batch(plan, threads), s.room_after(plan)) if threads > 0 else 0
        s.kept = [h[:3] for h in s.handed if h[2] == step_id][:count]
        kept = {held.id for held, _, _ in s.kept}
        s.handed = [h for h in s.handed if h[0].id not in kept]
        if s.kept:
            self._move(lease, queue_id, threads)
            s.reserve(plan, len(s.kept))
        return [Held(held.id, step_id, output, 1) for held, output, _ in s.kept]

    def _claim(
        self,
        s: Settlement,
        lease: Lease,
        queue_id: int,
        head: StepPlan,
        batch: BatchSize,
        unfinished: int,
        now: datetime,
    ) -> list[Held]:
        """Take messages that wait in a queue, which the lease moves to if it is elsewhere."""
        moves = queue_id != lease.queue_id
        threads = self._movable_threads(s, lease, queue_id) if moves else lease.threads
        if s.counters[queue_id].paused or threads < 1:
            return []
        count = min(batch(head, threads) - unfinished, s.room_after(head))
        if count < 1:
            return []
        if moves:
            self._move(lease, queue_id, threads)
        rows = self.database.query(
            sql.TAKE.format(lock=self.database.lock_messages),
            [queue_id, moment(now), head.step_id, count, lease.consumer_id],
        )
        taken = sorted((Held(*row) for row in rows), key=lambda held: held.id)
        s.reserve(head, len(taken))
        if head.position == 0:
            started = [{"id": h.id, "started_at": moment(now)} for h in taken if h.deliveries == 1]
            self.database.each(sql.MARK_RUNNING, started)
        return taken

    def _movable_threads(self, s: Settlement, lease: Lease, queue_id: int) -> int:
        """Threads the lease may have at another queue: its own number or what is free there."""
        granted = self._granted_threads(queue_id, lease.consumer_id)
        return min(lease.threads, s.counters[queue_id].threads - granted)

    def _move(self, lease: Lease, queue_id: int, threads: int) -> None:
        self.database.change(sql.MOVE_CONSUMER, [queue_id, threads, lease.consumer_id])
        lease.queue_id, lease.threads = queue_id, threads

    def _write(self, s: Settlement, lease: Lease, done: Sequence[Done], now: datetime) -> None:
        each, at = self.database.each, moment(now)
        each(sql.INSERT_STEP_RUN, [step_run_row(d) for d in done])
        each(sql.KEEP, [{"id": h.id, "body": b, "step_id": step} for h, b, step in s.kept])
        each(
            sql.HAND_OVER,
            [
                {"id": h.id, "body": b, "step_id": step, "queue_id": queue, "available_at": at}
                for h, b, step, queue in s.handed
            ],
        )
        each(
            sql.WAIT_AGAIN,
            [
                {
                    "id": d.held.id,
                    "queue_id": lease.queue_id,
                    "available_at": moment(now + (d.delay or timedelta(0))),
                }
                for d in s.again
            ],
        )
        each(sql.DELETE_MESSAGE, [{"id": d.held.id} for d in (*s.completed, *s.buried)])
        each(
            sql.COMPLETE_RUN,
            [{"id": d.held.id, "result": d.output, "finished_at": at} for d in s.completed],
        )
        each(
            sql.FAIL_RUN,
            [{"id": d.held.id, "error": d.error, "finished_at": at} for d in s.buried],
        )
        each(sql.COUNT_WARNING, [{"id": d.held.id} for d in done if d.warning])
        if s.buried:
            DeadLetter.objects.bulk_create(dead_letter(d, now) for d in s.buried)
        if s.handed or s.again:
            self.database.wake()

    # --- counters and threads --------------------------------------------------------------

    def _lock_counters(self, queue_ids: Collection[int]) -> dict[int, Counters]:
        ids = sorted(set(queue_ids) - {0})
        if not ids:
            return {}
        marks = ", ".join(["%s"] * len(ids))
        statement = sql.LOCK_COUNTERS.format(ids=marks, lock=self.database.lock_counters)
        return {row[0]: Counters(*row[1:]) for row in self.database.query(statement, ids)}

    def _add_to_counters(self, counters: dict[int, Counters]) -> None:
        self.database.each(
            sql.ADD_TO_COUNTERS,
            [
                {"queue_id": id, "depth": c.depth_change, "reserved": c.reserved_change}
                for id, c in counters.items()
                if c.depth_change or c.reserved_change
            ],
        )

    def _granted_threads(self, queue_id: int, except_consumer_id: int) -> int:
        return self.database.query(sql.GRANTED_THREADS, [queue_id, except_consumer_id])[0][0]


def new_run_row(run: NewRun, now: str) -> dict[str, object]:
    return {
        "id": run.correlation_id.hex,
        "flow_version_id": run.flow_version_id,
        "user_id": run.user_id,
        "started_at": now,
    }


def message_row(run: NewRun, now: str) -> dict[str, object]:
    return {
        "id": run.correlation_id.hex,
        "step_id": run.step_id,
        "queue_id": run.queue_id,
        "body": run.body,
        "available_at": now,
    }


def step_run_row(done: Done) -> dict[str, object]:
    return {
        "id": done.held.id,
        "step_id": done.held.step_id,
        "outcome": done.outcome,
        "started_at": moment(datetime.fromtimestamp(done.started_at, UTC)),
        "finished_at": moment(datetime.fromtimestamp(done.finished_at, UTC)),
        "error": done.error,
        "logs": done.logs,
    }


def dead_letter(done: Done, now: datetime) -> DeadLetter:
    return DeadLetter(
        run_id=UUID(done.held.id),
        step_id=done.held.step_id,
        reason=done.reason,
        error=done.error,
        body=done.held.body,
        deliveries=done.held.deliveries,
        dead_at=now,
    )
