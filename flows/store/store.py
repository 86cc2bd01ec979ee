"""Start, claim, commit and release messages: each public method is one transaction.

Locks are always taken in this order, so that two sessions never wait for each other: the own
consumer, the counters of the queues by id, the totals of the states of flows by id, messages, runs
by id, dead letters, the totals of flows. Attempts may be inserted before the counters: the rows are
new and refer to no others in the database, so they wait for nothing.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connection, transaction

from flows.encryption.payload_keys import encrypt
from flows.errors import DeadlinePassed, LeaseLost, QueueFull, QueueFullAtCommit
from flows.models import (
    Consumer,
    DeadLetter,
    Message,
    Queue,
    Run,
    RunDeadline,
    RunningAttempt,
)
from flows.models.keep import Keep
from flows.models.quiet_end import note_quiet_ends
from flows.models.users import key_in_database
from flows.plan import flow_name_of, keep_of, step_plan
from flows.signals import announce_end
from flows.store import sql
from flows.store.asked import Asked
from flows.store.commit import BatchSize, Commit, Decide, prepare_attempts
from flows.store.counters import Counters, limits
from flows.store.database import Answer, Database, read_time, sql_time
from flows.store.decisions import Discarding, locked_run
from flows.store.expected import Expected, is_unexpected
from flows.store.jump import mend
from flows.store.kept import kept_at_cancel
from flows.store.lost_attempts import DIED, STOPPED, keep_lost_attempts
from flows.store.requeueing import Requeue, Requeued, Requeueing
from flows.store.rows import has_more_beside, store_beside
from flows.store.telling import End, flow_id_of, tell_ends
from flows.store.totals import FlowTotalsChanges, Totals, totals_by_flow
from flows.store.troubles import trouble_of
from flows.store.types import DeliveryResult, HeldMessage, Lease, NewRun, Owner, Ready, Seen
from flows.store.usual import NO_RESULTS, AttemptsDiffer, Sorted, write_attempts
from scripts.traces import are_on

logger = logging.getLogger(__name__)

# A lease whose rate limit allows a start within this time stays: opening another takes longer.
REST_SECONDS = 0.1
# So long after a refusal the next start looks for room before it is stored.
REFUSALS_SECONDS = 1.0
# More deliveries than any message has.
COUNT_EVERY_DELIVERY = 1_000_000_000


class Store:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.counters = Counters(database)
        # When queues were found full last, by the monotonic clock.
        self.full_at: dict[int, float] = {}

    # --- start -----------------------------------------------------------------------------

    def start(self, runs: Sequence[NewRun], look_for_room: bool = True) -> None:
        """Store runs with their first messages, all of them or none. Raises QueueFull.

        `look_for_room` first: a refusal then costs no lock and no insert. Starts that are committed
        here find out by themselves on PostgreSQL, and look first while there are refusals.

        On PostgreSQL the queue and the totals count them with the commit, so that a transaction of
        the caller's keeps no others waiting; it raises QueueFullAtCommit there.
        """
        began = time.time()
        with self._noting_full():
            self._start(runs, look_for_room)
        if are_on():
            from flows.traces.spans import note_starts

            note_starts(runs, began)

    def starts_in_one_statement(self) -> bool:
        """Tell whether a start may try `start_under`: on PostgreSQL, outside of a transaction."""
        return self.database.counts_with_commit and connection.get_autocommit()

    def start_under(self, revision: str, run: NewRun) -> bool:
        """Store a run in one round trip, if the configuration has this revision.

        False as `start_as_seen`. Raises as `start` does.
        """
        return self.start_as_seen(self.database.seen_alone(sql.REVISION, revision), [run])

    def start_as_seen(self, seen: Seen, runs: Sequence[NewRun]) -> bool:
        """Store runs as `start` does if a row is as it was seen: read and stored in one go.

        False, with nothing stored: the row has changed, the queue is full, or these starts need
        more than one statement.
        """
        if len({(run.queue_id, run.flow_name, run.start_at) for run in runs}) > 1:
            return False
        if runs[0].start_at or has_more_beside(runs) or not connection.get_autocommit():
            return False
        if self._was_full(runs):
            return False
        began = time.time()
        is_stored = self.database.store_starts_as_seen(seen, runs)
        if is_stored and are_on():
            from flows.traces.spans import note_starts

            note_starts(runs, began)
        return is_stored

    def _start(self, runs: Sequence[NewRun], look_for_room: bool) -> None:
        ready, delayed = room_needed(runs)
        if look_for_room and not self._finds_room_by_itself(runs, bool(delayed)):
            for queue_id in {run.queue_id for run in runs}:
                self.refuse_if_full(queue_id, ready[queue_id], delayed[queue_id])
        now = self.database.time_of_start()
        has_more = has_more_beside(runs)
        if self.database.counts_with_commit and not has_more:
            self.database.store_starts(runs, now)
            return
        with self.database.transaction():
            self.database.store_starts(runs, now)
            if has_more:
                store_beside(runs)
            if self.database.counts_with_commit:
                return
            for queue_id, count in sorted(ready.items()):
                self.counters.take_room(queue_id, count)
            for queue_id, count in sorted(delayed.items()):
                self.counters.take_room_for_delayed(queue_id, count)
            totals = totals_by_flow()
            for run in runs:
                totals[run.flow_name].accepted += 1
            self.counters.add_to_totals(totals)
            self.database.wake()

    def _finds_room_by_itself(self, runs: Sequence[NewRun], are_delayed: bool) -> bool:
        """Tell whether the statement that stores these runs may as well find out about the room.

        Within a transaction of the caller's it would be known at the commit only.
        """
        if are_delayed or not (self.database.counts_with_commit and connection.get_autocommit()):
            return False
        return not self._was_full(runs)

    def _was_full(self, runs: Sequence[NewRun]) -> bool:
        """Tell whether one of their queues was full a moment ago."""
        quiet_since = time.monotonic() - REFUSALS_SECONDS
        return any(self.full_at.get(run.queue_id, 0.0) >= quiet_since for run in runs)

    @contextmanager
    def _noting_full(self) -> Iterator[None]:
        # The commit of a caller's transaction comes later.
        try:
            yield
        except QueueFull as full:
            if full.queue_id is not None:
                self.full_at[full.queue_id] = time.monotonic()
            if isinstance(full, QueueFullAtCommit):
                raise QueueFull(queue_id=full.queue_id) from full
            raise

    def those_that_fit(self, runs: Sequence[NewRun]) -> list[NewRun]:
        """Return the runs that their queues have room for now; the first ones go first.

        None of them is delayed. It takes no lock.
        """
        rooms = self.counters.rooms({run.queue_id for run in runs})
        fitting = []
        for run in runs:
            # A queue that is gone fails the insert.
            if rooms.get(run.queue_id, 1) > 0:
                fitting.append(run)
                rooms[run.queue_id] = rooms.get(run.queue_id, 1) - 1
        return fitting

    def refuse_if_full(self, queue_id: int, ready: int, delayed: int) -> None:
        """Raise QueueFull where the queue has no room for these starts. It takes no lock."""
        if ready:
            self.counters.refuse_if_full(queue_id, ready)
        if delayed:
            self.counters.refuse_if_too_many_delayed(queue_id, delayed)

    def requeue(self, orders: Sequence[Requeue], user_id: Any) -> Requeued:
        """Let messages wait in place of dead letters, as far as their queues have room."""
        with self.database.transaction():
            return Requeueing(self.counters, user_id).requeue(orders)

    def discard(self, letter: DeadLetter, user_id: Any) -> None:
        """Discard a dead letter. Raises AlreadyReprocessed, and QueueFull where its run would go
        on at a join whose queue is full.
        """
        with self.database.transaction():
            Discarding(self.counters, letter, user_id).discard()

    # --- single runs -----------------------------------------------------------------------

    def cancel(self, run_id: UUID, user_id: Any, error: str | None = None) -> bool:
        """Cancel a run. Waiting messages leave at once; the holder of another is told.

        The run gets the error, if one is given.
        A run that is failed since a branch died, and goes on with others, is cancelled, too; its
        dead letters are discarded. Returns false where the run has ended already.
        """
        while True:
            with self.database.transaction():
                if not self._messages_of(run_id):
                    return False
                withdrawn = self._withdraw(run_id)
                if withdrawn is None:
                    # A message has moved on, or come, meanwhile: look again where it is.
                    transaction.set_rollback(True)
                    continue
                run, body = withdrawn
                if run.status in (Run.Status.COMPLETED, Run.Status.CANCELLED):
                    transaction.set_rollback(True)
                    return False
                now, by = self.database.now(), key_in_database(user_id)
                keep = keep_of(run.flow_version_id)
                kept = kept_at_cancel(body) if body and keep == Keep.EVERYTHING else None
                told = error and encrypt(error)
                self.database.change(sql.CANCEL_RUN, [by, sql_time(now), kept, told, run_id.hex])
                if keep == Keep.FAILURES:
                    self.database.each(sql.FORGET_INPUTS, [{"id": run_id.hex}])
                self.database.change(sql.FORGET_BRANCH_ENDS, [run_id.hex])
                totals = self._discard_letters_of(run_id, now, user_id)
                was_failed = run.status == Run.Status.FAILED
                flow_name = flow_name_of(run.flow_version_id)
                totals[flow_name] += Totals(
                    failed=-was_failed, cancelled=1, reopened=int(was_failed)
                )
                self.counters.add_to_totals(totals)
                note_quiet_ends([run_id], now)
                tell_ends(
                    [End(run_id.hex, flow_id_of(run.flow_version_id), Run.Status.CANCELLED)], now
                )
                announce_end(run_id, flow_name, Run.Status.CANCELLED)
                self.database.wake()
                return True

    def discard_letters(self, run_id: UUID, user_id: Any) -> FlowTotalsChanges:
        """Discard the open dead letters of a locked run that has ended.

        The run stays as it is. None of its branches goes on without the discarded ones. The caller
        adds what it returns to the totals, at the end of the transaction.
        """
        return self._discard_letters_of(run_id, self.database.now(), user_id)

    def _discard_letters_of(self, run_id: UUID, now: datetime, user_id: Any) -> FlowTotalsChanges:
        """Discard the open dead letters of a locked run; return what the totals change by."""
        totals = totals_by_flow()
        letters = DeadLetter.objects.open().filter(run=run_id)
        for step_id in letters.order_by().values_list("step", flat=True):
            totals[step_plan(step_id).site.flow].letters_decided += 1
        letters.update(discarded_at=now, discarded_by=user_id)
        return totals

    def _withdraw(self, run_id: UUID) -> tuple[Run, str] | None:
        """Delete the waiting messages of a run, and lock it; None: one has moved on, or come,
        meanwhile.

        Return with it the body of the one that waited, as the database had it, "" if a consumer
        holds it, if its step is done and it waits for room, or if there are branches.
        """
        asked = {holder for _, _, holder, _ in self._messages_of(run_id) if holder}
        for consumer_id in sorted(asked):
            self.database.change(sql.REQUEST_CANCEL, [consumer_id])
        # From here on no holder can commit: its consumer row is locked.
        messages = self._messages_of(run_id)
        queues = self.counters.lock({queue_id for _, queue_id, *_ in messages if queue_id})
        body = ""
        for id, queue_id, holder, delayed in messages:
            if holder and holder not in asked:
                return None
            if queue_id:
                deleted = self.database.query(sql.DELETE_WAITING, [id, queue_id, delayed])
                if not deleted:
                    return None
                [(branch, is_done, text)] = deleted
                body = "" if branch or is_done else text
                if delayed:
                    queues[queue_id].delayed_change -= 1
                else:
                    queues[queue_id].depth_change -= 1
        self.counters.add(queues)
        run = locked_run(run_id)
        # The dead letter of another branch may have been requeued while the counters were waited
        # for. From here on none is: that needs the lock on the run.
        if {holder for _, _, holder, _ in self._messages_of(run_id)} - asked:
            return None
        return run, body

    def _messages_of(self, run_id: UUID) -> list[tuple[str, int | None, int | None, bool]]:
        return self.database.query(sql.MESSAGES_OF_RUN, [run_id.hex, run_id.hex])

    def bypass_pause(self, run_id: UUID) -> bool:
        """Let the messages of a run pass where their queue or flow is paused, up to its end."""
        with self.database.transaction():
            changed = self.database.change(sql.BYPASS_PAUSE, [run_id.hex, run_id.hex])
            self.database.wake()
            return bool(changed)

    # --- consumers -------------------------------------------------------------------------

    def ready(self) -> list[Ready]:
        """Return every queue with what the broker needs to choose one."""
        rows = self.database.look(sql.READY_QUEUES)
        return [
            Ready(*row[:8], **({"asked_at": read_time(row[8])} | limits(*row[9:]))) for row in rows
        ]

    def has_work(self, task_lists: tuple[str, str]) -> bool:
        """Tell whether a broker of these lists has anything to look for, in a single statement."""
        return bool(self.database.look(sql.HAS_WORK, task_lists)[0][0])

    def has_tasks(self, lists: tuple[str, str], now: datetime) -> bool:
        """Tell whether a task in one of these lists is due by the clock of this machine."""
        with self.database.set_up():
            return bool(self.database.look_up(sql.HAS_TASKS, [*lists, sql_time(now)]))

    def oldest_ready(self, queue_ids: Sequence[int], now: datetime) -> dict[int, datetime]:
        """Return by queue since when its oldest ready message has been ready, where there is one.

        One query for all of these queues, by the index of waiting messages.
        """
        if not queue_ids:
            return {}
        statement = sql.OLDEST_READY.format(ids=", ".join(["%s"] * len(queue_ids)))
        with self.database.set_up():
            rows = self.database.query(statement, [sql_time(now), *queue_ids])
        return {queue_id: read_time(at) for queue_id, at in rows if at}

    def first_waiting(self, queue_ids: Sequence[int]) -> list[Any]:
        """Return the ids of the first message of each priority in each of these queues."""
        if not queue_ids:
            return []
        statement = sql.FIRST_WAITING.format(ids=", ".join(["%s"] * len(queue_ids)))
        with self.database.set_up():
            return [pk for (pk,) in self.database.query(statement, queue_ids)]

    def open_consumer(self, queue_id: int, most: int, cluster: str, machine: str) -> int | None:
        """Grant at most `most` threads of the queue to a new consumer; None if none is free."""
        with self.database.transaction(pipelined=True):
            locked = self.counters.ask_to_lock([queue_id])
            granted = self.counters.ask_granted_threads(queue_id)
            queue = self.counters.locked(locked).get(queue_id)
            if queue is None:
                return None
            threads = min(most, queue.threads - granted()[0][0])
            if threads < 1:
                return None
            values = [queue_id, threads, cluster, machine]
            return self.database.query_now(sql.OPEN_CONSUMER, values)[0][0]

    def consumers_of(self, cluster: str) -> list[tuple[int, int | None, int, int]]:
        """Return the id, pid, queue and threads of each of a cluster's consumers."""
        with self.database.set_up():
            return self.database.look_up(sql.CONSUMERS_OF, [cluster])

    def first_opened(self, cluster: str) -> int | None:
        """Return the consumer that a broker opened first and no worker has begun; None: none."""
        # Each busy worker asks all the time: not by the ORM, which takes ten times as long.
        with self.database.set_up():
            for (consumer_id,) in self.database.look_up(sql.FIRST_OPENED, [cluster]):
                return int(consumer_id)
        return None

    def begin(self, consumer_id: int, pid: int) -> Lease:
        """Start the lease of a consumer that the broker has opened. Raises LeaseLost."""
        with self.database.set_up():
            begun = self.database.query_now(sql.BEGIN_LEASE, [pid, consumer_id])
        for queue_id, threads in begun:
            return Lease(consumer_id, queue_id, queue_id, threads)
        raise LeaseLost

    def open(self, lease: Lease, owner: Owner, batch: BatchSize) -> list[HeldMessage]:
        """Make the consumer of a lease that has none, and claim, in one transaction.

        It is granted at most the threads that the lease asks for. The lease is closed where there
        is nothing to do, or no thread is free. Raises LeaseLost where the queue is gone. Where
        anything is raised, the lease has no consumer.
        """
        threads = lease.threads
        try:
            with self.database.transaction(pipelined=True):
                # Before it is open: the threads of others are asked for.
                asked = Asked(self.counters, lease, NO_RESULTS, 0, claim=True)
                values = [threads, owner.cluster, owner.machine, owner.pid, lease.queue_id]
                now = self._opened(lease, self.database.ask_now(sql.OPEN_LEASE, values))
                commit = Commit(self.counters, lease, NO_RESULTS, 0, batch, now)
                taken = commit.run(True, asked=asked)
                ended = self._end_if_idle(lease, taken, 0)
        except BaseException:
            lease.consumer_id, lease.threads = 0, threads
            raise
        lease.closed = ended
        return taken

    def _opened(self, lease: Lease, answer: Answer) -> datetime:
        for consumer_id, at in answer():
            now = read_time(at)
            lease.consumer_id, lease.renewed_at = consumer_id, now.timestamp()
            return now
        raise LeaseLost

    def find_opened(self, lease: Lease, owner: Owner, others: Collection[int]) -> bool:
        """Give a lease the consumer that it has after all; false: it was not made.

        The commit of `open` was in doubt. `others` are the owner's other consumers.
        """
        queue_id = lease.queue_id
        own = Consumer.objects.filter(
            cluster=owner.cluster, machine=owner.machine, pid=owner.pid, queue_id=queue_id
        ).exclude(pk__in=others)
        with self.database.transaction():
            # The server may still be at that commit, which keeps the counters locked until its end.
            self.counters.lock([queue_id])
            # Older ones were given up, and run out.
            for lease.consumer_id in own.order_by("-pk").values_list("pk", flat=True)[:1]:
                return True
        return False

    def heartbeat(self, lease: Lease) -> datetime:
        """Renew the lease and return the database's time. Raises LeaseLost.

        Afterwards the lease tells whether the run of a message that it holds was cancelled.
        """
        return self._renewed(lease, self._ask_to_renew(lease))

    def _ask_to_renew(self, lease: Lease) -> Answer:
        return self.database.ask_now(sql.RENEW_LEASE, [lease.consumer_id])

    def _renewed(self, lease: Lease, answer: Answer) -> datetime:
        for cancel_requested, leaves, at in answer():
            now = read_time(at)
            lease.cancel_requested = bool(cancel_requested)
            lease.leaves = bool(leaves)
            lease.renewed_at = now.timestamp()
            return now
        raise LeaseLost

    def note_running(self, lease: Lease, attempts: Sequence[RunningAttempt]) -> None:
        """Write down which scripts of the lease are running for long. Raises LeaseLost."""
        with self.database.transaction():
            self.heartbeat(lease)
            RunningAttempt.objects.bulk_create(
                attempts,
                update_conflicts=True,
                unique_fields=["message_id"],
                update_fields=["consumer_id", "delivery", "started_at", "logs", "progress"],
            )

    def cancelled(self, lease: Lease) -> set[str]:
        """Return the messages it holds whose runs were cancelled; they are to be dropped."""
        with self.database.transaction():
            self.heartbeat(lease)
            self.database.change(sql.CANCEL_HANDLED, [lease.consumer_id])
            return self._held_cancelled(lease.consumer_id)

    def _held_cancelled(self, consumer_id: int) -> set[str]:
        return {row[0] for row in self.database.query(sql.HELD_CANCELLED, [consumer_id])}

    def held(self, lease: Lease) -> list[HeldMessage]:
        """Return what the lease holds, and learn again where it is. Raises LeaseLost."""
        with self.database.transaction():
            self.heartbeat(lease)
            consumer = Consumer.objects.get(pk=lease.consumer_id)
            lease.queue_id, lease.threads = consumer.queue_id, consumer.threads
            rows = self.database.query(sql.HELD, [lease.consumer_id])
            return [HeldMessage.of_row(row) for row in rows]

    def close(self, lease: Lease) -> None:
        """End a lease; what it still holds waits again, its delivery not counted."""
        with self.database.transaction():
            if self.database.change(sql.END_LEASE, [lease.consumer_id]):
                self._release(lease.consumer_id)
        lease.closed = True

    def require_writable(self, quiet: timedelta) -> None:
        """Write, where a consumer is quiet: its heartbeats may be what the database refuses.

        Raises the error of the database where it is so, and where it does not answer.
        """
        before = self.database.now() - quiet
        if Consumer.objects.filter(heartbeat_at__lt=before).exists():
            touch = sql.TOUCH_QUIET.format(skip_locked=self.database.skip_locked)
            with self.database.transaction():
                self.database.change(touch, [sql_time(before)])

    def settle_clock(self) -> None:
        """Follow a clock that was set, and mend what is stored by the time before."""
        jumped = self.database.clock_has_jumped()
        # Where nothing can be written now, it is not followed yet. Nor does another broker end the
        # leases by the new time, before they are moved: it waits for this transaction.
        with self.database.transaction() if jumped else nullcontext():
            if settled := self.database.settle_clock():
                with self.database.transaction():
                    mend(*settled)

    def reap(
        self, machine: str, alive: Callable[[int], bool], lease: timedelta, begin: timedelta
    ) -> None:
        """End the leases of consumers that died: by their pid here, elsewhere by their heartbeat.

        `lease` is how long a consumer may be silent, `begin` how long an opened one may wait for a
        worker. The messages wait again. One of them may have killed the worker, so half as many
        are claimed together next time: after some more deaths the one that kills is alone. The
        lost delivery counts for a message that was alone, and for messages that had all begun
        (no more than there were threads), so that one that kills workers becomes a dead letter.
        """
        now = self.database.now()
        for consumer in Consumer.objects.all():
            pid, seen_at = consumer.pid, consumer.heartbeat_at
            died = pid is not None and consumer.machine == machine and not alive(pid)
            if died or seen_at < now - (begin if pid is None else lease):
                try:
                    self._end_dead(consumer)
                except Exception as error:
                    if trouble_of(error) is not None:
                        raise
                    # What is wrong with this one must not keep the messages of others waiting.
                    logger.exception("consumer %s has died and is not ended", consumer.pk)

    def _end_dead(self, consumer: Consumer) -> None:
        with self.database.transaction():
            end = sql.END_LEASE_SEEN.format(skip_locked=self.database.skip_locked)
            if self.database.change(end, [consumer.pk, sql_time(consumer.heartbeat_at)]):
                self._release(consumer.pk, died_with_threads=consumer.threads)
            else:
                # A transaction of its own may hold it.
                self.database.end_frozen()

    def _release(self, consumer_id: int, died_with_threads: int = 0) -> None:
        """Let everything wait again that a consumer held, but for what was cancelled."""
        held = [HeldMessage(*row) for row in self.database.query(sql.HELD, [consumer_id])]
        plans = {h.step_id: step_plan(h.step_id) for h in held}
        queues = self.counters.lock(
            {id for plan in plans.values() for id in (plan.queue_id, *plan.rooms)}
        )
        dropped = self._held_cancelled(consumer_id)
        for h in held:
            plan = plans[h.step_id]
            for queue_id in plan.rooms:
                if following := queues.get(queue_id):
                    following.reserved_change -= 1
            if h.id in dropped and plan.queue_id in queues:
                queues[plan.queue_id].depth_change -= 1
        self.database.each(sql.DELETE_MESSAGE, [{"id": id} for id in dropped])
        self.counters.add(queues)
        time, suspects = self.database.now(), 0
        if died_with_threads:
            suspects = (len(held) + 1) // 2
        counted = self._counted_up_to(consumer_id, held, died_with_threads)
        why = DIED if died_with_threads else STOPPED
        keep_lost_attempts(consumer_id, held, dropped, time, why)
        now = sql_time(time)
        self.database.change(sql.FORGET_ALL_RUNNING, [consumer_id])
        self.database.change(sql.RELEASE, [counted, suspects, now, suspects, consumer_id])
        self.database.wake()

    def _counted_up_to(
        self, consumer_id: int, held: Sequence[HeldMessage], died_with_threads: int
    ) -> int:
        """Return up to which number of deliveries of a message the lost one counts."""
        if not died_with_threads or not held:
            return 0
        if len(held) == 1:
            return COUNT_EVERY_DELIVERY
        plans = [step_plan(h.step_id) for h in held]
        # Callables within a transaction run one after the other, so not all had begun.
        had_begun = len(held) <= died_with_threads and not any(
            plan.program.in_transaction for plan in plans
        )
        suspected = Message.objects.filter(consumer_id=consumer_id, suspects__gt=0).exists()
        if not had_begun or suspected:
            return 0
        # One of them killed the worker. The others must not lose their last delivery for that.
        queues = Queue.objects.filter(pk__in={plan.queue_id for plan in plans})
        return min(queues.values_list("max_deliveries", flat=True), default=1) - 1

    # --- one commit of a session -----------------------------------------------------------

    def claim(
        self, lease: Lease, batch: BatchSize, unfinished: int = 0, marks: bool = True
    ) -> list[HeldMessage]:
        """Take what a session does next that has nothing to store. Raises LeaseLost.

        With messages unfinished it takes more where it is, up to its batch size, else from the
        queue it began at; where there are none, its lease ends. Where a rate limit allows the next
        start very soon, the lease stays and `next_start_seconds` tells when.
        `marks` false: the runs of what it takes do not become RUNNING.
        """
        with self.database.transaction(pipelined=True):
            renewal = self._ask_to_renew(lease)
            asked = Asked(self.counters, lease, NO_RESULTS, unfinished, claim=True)
            now = self._renewed(lease, renewal)
            commit = Commit(self.counters, lease, NO_RESULTS, unfinished, batch, now)
            taken = commit.run(True, marks=marks, asked=asked)
            ended = self._end_if_idle(lease, taken, unfinished)
        lease.closed = ended
        return taken

    def commit(
        self,
        lease: Lease,
        results: Sequence[DeliveryResult],
        decide: Decide,
        batch: BatchSize,
        unfinished: int = 0,
        claim: bool = True,
    ) -> list[HeldMessage]:
        """Store what happened, hand the outputs over and take what the session does next.

        All in one transaction. With nothing unfinished the session goes on with the messages it
        has just handed over where the next queue's threads allow it, else as in `claim`; `claim`
        false: it takes nothing new.
        What is to run within the transaction does so first, before others can wait for locks.
        `decide` has the last word about a delivery whose run was cancelled, or which cannot be
        handed over. Raises LeaseLost, and DeadlinePassed; then nothing is stored.
        """
        has_callables = any(each.run_in_transaction for each in results)
        # Before others have to wait for locks.
        found = Sorted.of(results)
        if not has_callables and (
            expected := Expected.of(self.counters, lease, found, unfinished, claim)
        ):
            try:
                return self._commit_as_expected(lease, found, decide, batch, expected)
            except DatabaseError as error:
                if not is_unexpected(error):
                    raise
                expected.was_wrong()
        prepare_attempts(found.others)
        # Attempts of usual deliveries do not depend on the counters, and are written before these
        # are locked.
        ahead = not (has_callables or lease.cancel_requested)
        with suppress(AttemptsDiffer):
            return self._commit_as_asked(lease, found, decide, batch, unfinished, claim, ahead)
        return self._commit_as_asked(lease, found, decide, batch, unfinished, claim, False)

    def _commit_as_asked(
        self,
        lease: Lease,
        found: Sorted,
        decide: Decide,
        batch: BatchSize,
        unfinished: int,
        claim: bool,
        ahead: bool,
    ) -> list[HeldMessage]:
        """Store the deliveries. `ahead`: the attempts of usual ones before the counters are locked.

        Raises AttemptsDiffer where some turn out not to be usual.
        """
        results = found.results
        has_callables = any(each.run_in_transaction for each in results)
        with self.database.transaction(pipelined=not has_callables):
            renewal, asked = self._ask_to_renew(lease), None
            if ahead:
                write_attempts(self.database, found.usual)
            if not has_callables:
                asked = Asked(self.counters, lease, found, unfinished, claim)
            now = self._renewed(lease, renewal)
            if passed := RunDeadline.objects.passed_of([r.held.run_id for r in results], now):
                raise DeadlinePassed(run_ids=passed)
            cancelled = self._held_cancelled(lease.consumer_id) if lease.cancel_requested else set()
            if has_callables:
                found = Sorted.of(run_in_transaction(results, cancelled))
                cancelled = self._held_cancelled(lease.consumer_id)
            commit = Commit(self.counters, lease, found, unfinished, batch, now, ahead=ahead)
            taken = commit.run(claim, decide, cancelled, asked=asked)
            ended = self._end_if_idle(lease, taken, unfinished)
        lease.closed, lease.stored = ended, commit.stored
        return taken

    def _commit_as_expected(
        self,
        lease: Lease,
        found: Sorted,
        decide: Decide,
        batch: BatchSize,
        expected: Expected,
    ) -> list[HeldMessage]:
        with self.database.transaction(pipelined=True):
            renewal = self._ask_to_renew(lease)
            # PostgreSQL reads "now" as the beginning of the transaction.
            commit = Commit(self.counters, lease, found, 0, batch, expected.now, at="now")
            taken = commit.run(True, decide, asked=expected)
            ended = self._end_if_idle(lease, taken, 0)
        expected.committed()
        self._renewed(lease, renewal)
        lease.closed, lease.stored = ended, commit.stored
        return taken

    def _end_if_idle(self, lease: Lease, taken: list[HeldMessage], unfinished: int) -> bool:
        """End the lease of a session that has nothing to do; return whether it ended."""
        starts_soon = 0 < lease.next_start_seconds <= REST_SECONDS
        if taken or unfinished or starts_soon:
            return False
        self.database.write(sql.END_LEASE, [lease.consumer_id])
        self.database.wake()
        return True

    def put_off_head(self, lease: Lease, unfinished: bool, by: timedelta) -> bool:
        """Let the message wait that the lease would take next; tell whether there was one."""
        queue_id = lease.queue_id if unfinished else lease.home_queue_id
        head = sql.HEAD.format(columns="CAST(h.id AS text)", queue="%s", now="%s", and_which="")
        with self.database.transaction():
            now = self.heartbeat(lease)
            self.counters.lock([queue_id])
            rows = self.database.query(head, [queue_id, sql_time(now)])
            for (id,) in rows:
                self.database.change(sql.PUT_OFF, [sql_time(now + by), id])
            return bool(rows)


def room_needed(runs: Sequence[NewRun]) -> tuple[Counter[int], Counter[int]]:
    """Count by queue the runs that wait at once, and those that are delayed."""
    ready, delayed = Counter[int](), Counter[int]()
    for run in runs:
        (ready if run.start_at is None else delayed)[run.queue_id] += 1
    return ready, delayed


def run_in_transaction(
    results: Sequence[DeliveryResult], cancelled: set[str]
) -> list[DeliveryResult]:
    """Call what is to run within the transaction, unless its run was cancelled."""
    return [
        replace(each.run_in_transaction(), ran_in_commit=True)
        if each.run_in_transaction and each.held.id not in cancelled
        else each
        for each in results
    ]
