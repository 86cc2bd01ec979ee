"""Start, claim, commit, release and bury messages: each public method is one transaction.

Locks are always taken in this order, so that two sessions never wait for each other: the own
consumer, the counters of the queues by id, messages, runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flows.errors import LeaseLost, QueueFull
from flows.models import Consumer, DeadLetter, StepRun
from flows.plan import StepPlan, step_plan
from flows.rate import RateLimit
from flows.store import sql
from flows.store.database import Database, moment
from flows.store.work import Counters, Done, Fate, Head, Held, Lease, NewRun, Ready, Settlement

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
            # The counters come last: starts wait for each other only while they commit.
            self._take_room(runs[0].queue_id, len(runs))
            self._enter_in_books({runs[0].flow_name: [len(runs), 0, 0, 0]})
            self.database.wake()

    def put_back(self, run: NewRun) -> None:
        """Let a message of a failed run wait at a step again. Raises QueueFull."""
        with self.database.transaction():
            now = moment(self.database.now())
            self._take_room(run.queue_id, 1)
            self.database.each(sql.INSERT_MESSAGE, [message_row(run, now)])
            self.database.each(sql.REOPEN_RUN, [{"id": run.correlation_id.hex}])
            self._enter_in_books({run.flow_name: [0, 0, -1, 0]})
            self.database.wake()

    def _take_room(self, queue_id: int, count: int) -> None:
        if not self.database.change(sql.ADD_DEPTH_WITHIN_SIZE, [count, queue_id, count]):
            raise QueueFull(retry_after=1)

    def _enter_in_books(self, entries: dict[str, list[int]]) -> None:
        """Enter runs accepted, completed, failed and cancelled, by the name of their flow."""
        for flow_name, changes in sorted(entries.items()):
            if any(changes):
                self.database.change(sql.ENTER_IN_BOOKS, [flow_name, *changes])

    # --- single runs -----------------------------------------------------------------------

    def cancel(self, run_id: UUID, flow_name: str, user_id: int | None) -> bool:
        """Cancel a run. A waiting message leaves at once; who holds it is asked for attention.

        Returns false where the run has ended already.
        """
        while True:
            with self.database.transaction():
                found = self.database.query(sql.WHERE_IS, [run_id.hex])
                if not found:
                    return False
                queue_id, consumer_id = found[0]
                taken = self._withdraw(run_id, queue_id) if queue_id else self._ask(consumer_id)
                # It has moved on meanwhile: look again where it is.
                if not taken or (consumer_id and self._holder_of(run_id) != consumer_id):
                    continue
                now = moment(self.database.now())
                cancelled = self.database.change(sql.CANCEL_RUN, [user_id, now, run_id.hex])
                if cancelled:
                    self._enter_in_books({flow_name: [0, 0, 0, 1]})
                self.database.wake()
                return bool(cancelled)

    def _withdraw(self, run_id: UUID, queue_id: int) -> bool:
        counters = self._lock_counters([queue_id])
        if not self.database.change(sql.DELETE_WAITING, [run_id.hex, queue_id]):
            return False
        counters[queue_id].depth_change -= 1
        self._add_to_counters(counters)
        return True

    def _ask(self, consumer_id: int) -> bool:
        return bool(self.database.change(sql.ASK_FOR_ATTENTION, [consumer_id]))

    def _holder_of(self, run_id: UUID) -> int | None:
        found = self.database.query(sql.WHERE_IS, [run_id.hex])
        return found[0][1] if found else None

    def let_through(self, run_id: UUID) -> bool:
        """Let the message of a run pass where its queue or flow is paused, up to its end."""
        with self.database.transaction():
            changed = self.database.change(sql.LET_THROUGH, [run_id.hex])
            self.database.wake()
            return bool(changed)

    # --- consumers -------------------------------------------------------------------------

    def ready(self) -> list[Ready]:
        """Return every queue with what the broker needs to choose one."""
        now = moment(self.database.now())
        rows = self.database.query(sql.READY_QUEUES, [now, now])
        return [Ready(*row[:8], **limits(*row[8:])) for row in rows]

    def open_consumer(self, queue_id: int, wanted: int, cluster: str, host: str) -> int | None:
        """Grant up to `wanted` threads of the queue to a new consumer; None if none is free."""
        with self.database.transaction():
            counters = self._lock_counters([queue_id]).get(queue_id)
            if counters is None:
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
        """Renew the lease and return the database's time. Raises LeaseLost.

        Afterwards the lease tells whether a run was cancelled of which it holds a message.
        """
        now = self.database.now()
        renewed = self.database.query(sql.RENEW_LEASE, [moment(now), lease.consumer_id])
        if not renewed:
            raise LeaseLost
        lease.attention = bool(renewed[0][0])
        return now

    def cancelled(self, lease: Lease) -> set[str]:
        """Return the messages it holds whose runs were cancelled; they are to be dropped."""
        with self.database.transaction():
            self.heartbeat(lease)
            self.database.change(sql.PAID_ATTENTION, [lease.consumer_id])
            return self._held_cancelled(lease.consumer_id)

    def _held_cancelled(self, consumer_id: int) -> set[str]:
        return {row[0] for row in self.database.query(sql.HELD_CANCELLED, [consumer_id])}

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
        held = [Held(*row) for row in self.database.query(sql.HELD, [consumer_id])]
        plans = {h.step_id: step_plan(h.step_id) for h in held}
        queues = {id for plan in plans.values() for id in (plan.queue_id, plan.next_queue_id)}
        now = self.database.now()
        settlement = Settlement(self._lock_counters(queues), now)
        for h in held:
            settlement.reserve(plans[h.step_id], -1)
        dropped = self._held_cancelled(consumer_id)
        for h in held:
            if h.id in dropped and plans[h.step_id].queue_id in settlement.counters:
                settlement.counters[plans[h.step_id].queue_id].depth_change -= 1
        self.database.each(sql.DELETE_MESSAGE, [{"id": id} for id in dropped])
        self._add_to_counters(settlement.counters)
        self.database.change(sql.RELEASE, [moment(now), uncounted, consumer_id])
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
            if lease.attention:
                drop(done, self._held_cancelled(lease.consumer_id))
            plans = {d.held.step_id: step_plan(d.held.step_id) for d in done}
            claim_at = lease.queue_id if unfinished else lease.home_id
            head = self._head(claim_at, now) if claim else None
            settlement = Settlement(self._lock_for(lease, plans.values(), head), now)
            was_at = lease.queue_id
            self._settle(settlement, lease, done, plans)
            self._slow_down_or_recover(settlement, lease.queue_id, done)
            taken = self._carry(settlement, lease, batch) if claim and not unfinished else []
            if head and not taken:
                taken = self._claim(settlement, lease, claim_at, head, batch, unfinished)
            self.database.go_by_keys()
            self._mark_running(settlement, taken)
            self._write(settlement, was_at, done)
            self._note_starts(settlement, lease, taken)
            self._add_to_counters(settlement.counters)
            self._enter_in_books(entries(settlement))
            ended = not taken and not unfinished
            if ended:
                self.database.change(sql.END_LEASE, [lease.consumer_id])
                self.database.wake()
        lease.closed = ended
        return taken

    def _head(self, queue_id: int, now: datetime) -> Head | None:
        """Return the first message that is ready in the queue, a paused one if it has to be."""
        at = {"queue": "%s", "now": "%s"}
        params = [queue_id, moment(now)]
        columns = "step_id, priority"
        if rows := self.database.query(sql.HEAD.format(columns=columns, **at), params):
            return Head(step_plan(rows[0][0]), f"priority = {rows[0][1]}")
        return None

    def _head_let_through(self, queue_id: int, now: datetime) -> Head | None:
        statement = sql.HEAD_LET_THROUGH.format(columns="m.step_id", queue="%s", now="%s")
        rows = self.database.query(statement, [queue_id, moment(now)])
        return Head(step_plan(rows[0][0]), "let_through") if rows else None

    def _lock_for(
        self, lease: Lease, plans: Iterable[StepPlan], head: Head | None
    ) -> dict[int, Counters]:
        """Lock the counters of every queue that this commit may touch."""
        ids = {lease.queue_id}
        for plan in plans:
            if plan.next_step_id:
                ids |= {plan.next_queue_id, step_plan(plan.next_step_id).next_queue_id}
        if head:
            ids |= {lease.home_id, head.plan.next_queue_id}
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
            elif d.fate is Fate.DROPPED:
                s.dropped.append(d)
            elif plan.next_step_id is None:
                s.completed.append(d)
            else:
                s.counters[plan.next_queue_id].depth_change += 1
                s.handed.append((d.held, d.output, plan.next_step_id, plan.next_queue_id))

    def _carry(self, s: Settlement, lease: Lease, batch: BatchSize) -> list[Held]:
        """Keep messages that were just handed over, and move the lease to their queue."""
        if not s.handed:
            return []
        _, _, step_id, queue_id = s.handed[0]
        # Those that wait there came first.
        if s.counters[queue_id].paused or self._head(queue_id, s.now):
            return []
        plan, threads = step_plan(step_id), self._movable_threads(s, lease, queue_id)
        count = self._fitting(s, plan, queue_id, batch, threads)
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
        head: Head,
        batch: BatchSize,
        unfinished: int,
    ) -> list[Held]:
        """Take messages that wait in a queue, which the lease moves to if it is elsewhere."""
        moves = queue_id != lease.queue_id
        threads = self._movable_threads(s, lease, queue_id) if moves else lease.threads
        if s.counters[queue_id].paused:
            let_through = self._head_let_through(queue_id, s.now)
            if let_through is None:
                return []
            head = let_through
            if head.plan.next_queue_id not in s.counters:
                s.counters |= self._lock_counters([head.plan.next_queue_id])
        count = self._fitting(s, head.plan, queue_id, batch, threads, unfinished)
        if count < 1:
            return []
        if moves:
            self._move(lease, queue_id, threads)
        rows = self.database.query(
            sql.TAKE.format(which=head.which, is_taken=self.database.is_taken),
            [queue_id, moment(s.now), head.plan.step_id, count, lease.consumer_id],
        )
        taken = sorted((Held(*row) for row in rows), key=lambda held: held.id)
        s.reserve(head.plan, len(taken))
        return taken

    def _mark_running(self, s: Settlement, taken: Sequence[Held]) -> None:
        """A run begins with the first delivery of its first message."""
        first = [h for h in taken if h.deliveries == 1 and step_plan(h.step_id).position == 0]
        rows = [{"id": h.id, "started_at": moment(s.now)} for h in first]
        self.database.each(sql.MARK_RUNNING, rows)

    def _fitting(
        self,
        s: Settlement,
        plan: StepPlan,
        queue_id: int,
        batch: BatchSize,
        threads: int,
        unfinished: int = 0,
    ) -> int:
        """How many messages of a step can be taken: threads, rate, and room in the next queue."""
        if threads < 1:
            return 0
        held = min(batch(plan, threads), s.allowed(queue_id, threads) + unfinished)
        if s.counters[queue_id].rate_limit or s.counters[queue_id].slow_until:
            held = min(held, threads)
        return max(min(held - unfinished, s.room_after(plan)), 0)

    def _movable_threads(self, s: Settlement, lease: Lease, queue_id: int) -> int:
        """Threads the lease may have at another queue: its own number or what is free there."""
        granted = self._granted_threads(queue_id, lease.consumer_id)
        return min(lease.threads, s.counters[queue_id].threads - granted)

    def _move(self, lease: Lease, queue_id: int, threads: int) -> None:
        self.database.change(sql.MOVE_CONSUMER, [queue_id, threads, lease.consumer_id])
        lease.queue_id, lease.threads = queue_id, threads

    def _write(self, s: Settlement, queue_id: int, done: Sequence[Done]) -> None:
        each, at = self.database.each, moment(s.now)
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
                    "queue_id": queue_id,
                    "available_at": moment(s.now + (d.delay or timedelta(0))),
                }
                for d in s.again
            ],
        )
        left = (*s.completed, *s.buried, *s.dropped)
        each(sql.DELETE_MESSAGE, [{"id": d.held.id} for d in left])
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
            DeadLetter.objects.bulk_create(dead_letter(d, s.now) for d in s.buried)
        if s.handed or s.again:
            self.database.wake()

    def _note_starts(self, s: Settlement, lease: Lease, taken: Sequence[Held]) -> None:
        """Write down what starts now where there is a rate limit."""
        rate = s.counters[lease.queue_id].rate_limit
        if taken and rate:
            rate.add(s.now.timestamp() + lease.start_within, len(taken))
            self.database.change(sql.WRITE_RECENT_STARTS, [rate.write(), lease.queue_id])

    def _slow_down_or_recover(self, s: Settlement, queue_id: int, done: Sequence[Done]) -> None:
        """Go slowly where a script was asked to wait, until one gets through."""
        counters = s.counters[queue_id]
        waits = [d.delay for d in done if d.slows and d.delay]
        if waits:
            counters.slow_until = s.now + max(waits)
        elif counters.slow_until and any(d.fate is Fate.PASSED for d in done):
            counters.slow_until = None
        else:
            return
        until = counters.slow_until and moment(counters.slow_until)
        self.database.change(sql.SLOW_DOWN, [until, queue_id])

    # --- counters and threads --------------------------------------------------------------

    def _lock_counters(self, queue_ids: Collection[int]) -> dict[int, Counters]:
        ids = sorted(set(queue_ids) - {0})
        if not ids:
            return {}
        marks = ", ".join(["%s"] * len(ids))
        statement = sql.LOCK_COUNTERS.format(ids=marks, lock=self.database.lock_counters)
        rows = self.database.query(statement, ids)
        return {row[0]: Counters(*row[1:6], **limits(*row[6:])) for row in rows}

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
        "available_at": moment(run.start_at) if run.start_at else now,
        "priority": run.priority,
        "yes_or_no": False,
    }


def limits(count: int | None, period: Any, recent: str, slow_until: Any) -> dict[str, Any]:
    """Read a queue's rate limit and until when it is slow; SQLite gives a time without a zone."""
    if slow_until and slow_until.tzinfo is None:
        slow_until = slow_until.replace(tzinfo=UTC)
    rate = RateLimit.read(count, period, recent) if count else None
    return {"rate_limit": rate, "slow_until": slow_until}


def drop(done: Sequence[Done], cancelled: set[str]) -> None:
    for d in done:
        if d.held.id in cancelled:
            d.fate, d.outcome = Fate.DROPPED, StepRun.Outcome.CANCELLED.value


def entries(s: Settlement) -> dict[str, list[int]]:
    """What a commit enters in the books; cancelled runs were entered when they were cancelled."""
    books: dict[str, list[int]] = {}
    for column, ended in ((1, s.completed), (2, s.buried)):
        for d in ended:
            flow_name = step_plan(d.held.step_id).site.flow
            books.setdefault(flow_name, [0, 0, 0, 0])[column] += 1
    return books


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
