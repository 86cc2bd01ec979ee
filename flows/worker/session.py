"""One lease at work: claim messages, run their scripts, commit what came of them, repeat."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings
from django.db import connection

from flows.disposition import Circumstances
from flows.errors import DeadlinePassed, LeaseLost
from flows.models import RunDeadline, RunningAttempt
from flows.plan import StepPlan, step_plan
from flows.store import DeliveryResult, HeldMessage, Lease, Owner, store
from flows.store.flow_state import StateRefused
from flows.store.troubles import DATABASE_ERRORS, Trouble, trouble_of
from flows.store.types import WritesTakenBack
from flows.tasks import deadlines
from flows.worker.batch_sizes import BatchSizes
from flows.worker.database_retries import DatabaseRetries
from flows.worker.delivery_log import log_ends
from flows.worker.isolation import (
    LAST_RESORT_DELAY,
    gone_on,
    is_of_a_message,
    result_of,
    substitutes,
    without_result,
    without_state,
)
from flows.worker.queue_rules import exhausted, is_exhausted, with_redeliveries
from flows.worker.redelivery import in_commit
from flows.worker.results import cancelled_early, released, running_attempt
from flows.worker.this_worker import this_worker
from flows.worker.transactional import TransactionalCallables, TransactionSpoiled, refused
from flows.worker.unreadable import unread
from scripts.callables.leftovers import drop_connections
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, Outcome
from scripts.traces import are_on

logger = logging.getLogger(__name__)

# How often the database may refuse a commit with callables, by an error that might pass, before
# their writes are taken as the cause.
MOST_REFUSALS = 5

# How often a session with slow scripts renews its lease, and learns of cancelled runs.
HEARTBEAT_SECONDS = 1.0
# A rate counts a start as at most this much later than its claim.
LEAST_START_MARGIN_SECONDS = 0.02
# A session that could read nothing for so long lets its queue rest.
UNREAD_SECONDS = 0.1


class Session:
    """One lease: the messages it holds, what runs and what is done but not yet committed."""

    def __init__(self, lease: Lease, hosts: HostPool, owner: Owner | None = None) -> None:
        self.lease = lease
        self.hosts = hosts
        # Where the lease is to be opened with the first claim.
        self.owner = owner
        self.store = store()
        self.running: dict[str, HeldMessage] = {}
        self.done: list[DeliveryResult] = []
        # When the lease was renewed last.
        self.heard_at = time.monotonic()
        # When it could read a message last, and whether its last commit had only others.
        self.read_at = self.heard_at
        self.was_unread = False
        # When it looked last for scripts that run for long.
        self.looked_at = self.heard_at
        self.draining_since: float | None = None
        # Returns the leases of the worker's other sessions.
        self.leases_beside: Callable[[], list[Lease]] = list
        # Of the largest batch, or output.
        self.most_bytes = 0
        self.cancelled: set[str] = set()
        # The end of the starts that a rate limit has reserved, in epoch seconds.
        self.start_by = 0.0
        # Until when the rate limit allows no start, by the monotonic clock.
        self.idle_until = 0.0
        # Commits with callables that the database has refused, one after the other.
        self.refusals = 0
        self.callables = TransactionalCallables(hosts)
        self.batches = BatchSizes(hosts)
        self.retries = DatabaseRetries()

    def patience(self) -> float:
        """Seconds until it has to go on, whatever its scripts do."""
        if self.retries.failed:
            return self.retries.wait()
        if self.running and not self.done:
            return 0.5
        return 0.0 if self.done else max(self.idle_until - time.monotonic(), 0.0)

    def finish(self, held_id: str, outcome: Outcome) -> None:
        """Take what came of a call, unless the message is no longer this session's."""
        if held := self.running.pop(held_id, None):
            result = result_of(held, outcome)
            self.most_bytes = max(self.most_bytes, len(result.output))
            self.done.append(as_cancelled(result) if held_id in self.cancelled else result)

    def go_on(self, claim: bool) -> None:
        """Commit what is done and start what comes next; without a database, try again later."""
        claim = claim and not self.lease.leaves
        if self.retries.wait():
            return
        if self.retries.failed and self._is_out_of_grace():
            logger.warning("consumer %s ends with what it could not store", self.lease.consumer_id)
            self.forget()
            return
        try:
            if self.retries.failed:
                self._read_back()
                if self.lease.closed:
                    return
                # The lease says no more that a run was cancelled where its answer was lost.
                self._stop(self.store.cancelled(self.lease))
            if this_worker.draining.is_set():
                self._release_waiting()
            if self.running and not self.done:
                self._stay_alive()
            elif self.done or not claim or time.monotonic() >= self.idle_until:
                self._go_on_with(self._commit_and_claim(claim))
            if self.running:
                self._note_running_now_and_then()
            self.retries.end()
        except LeaseLost:
            logger.warning("consumer %s lost its lease; nothing is written", self.lease.consumer_id)
            this_worker.measuring.note_lost_lease()
            self.forget()
        except TransactionSpoiled as spoiled:
            drop_connections()
            self._settle(spoiled.done)
        except WritesTakenBack as taken_back:
            for instead in taken_back.instead:
                self._settle(instead)
        except StateRefused as refused:
            self._settle(without_state(refused))
        except DATABASE_ERRORS as error:
            if not (trouble := trouble_of(error)):
                raise
            self._try_again_later(error, trouble)

    def _commit_and_claim(self, claim: bool) -> list[HeldMessage]:
        """Store what is done and take what comes next; store it apart where that raises."""
        try:
            return self._commit_all(claim)
        except Exception as error:
            is_refused = self._is_of_callables(error)
            if not (is_refused or is_of_a_message(error)) or not (self.done or claim):
                raise
            logger.info("consumer %s stores apart: %r", self.lease.consumer_id, error)
            cause = error
        if self.owner and not self.lease.consumer_id:
            self._open_alone(self.owner)
        # Both read the lease again: the commit that failed may have changed its queue and threads.
        elif is_refused:
            self._read_back()
        else:
            self.store.held(self.lease)
        if not self.done:
            return [] if is_refused else self._claim_apart(cause)
        self._store_apart(self.done)
        self.refusals = 0
        return []

    def _commit_all(self, claim: bool) -> list[HeldMessage]:
        self.done = with_redeliveries(self.done, self.lease.queue_id)
        begun_at, began = time.time(), time.monotonic()
        self.callables.begin()
        backs_off = self._reads_nothing()
        taken = self._store_and_claim(claim and not backs_off)
        self._note_unreadable(self.done, backs_off)
        self.done = []
        self.refusals = 0
        self.callables.end()
        self.heard_at = time.monotonic()
        self.idle_until = self.heard_at + self.lease.next_start_seconds
        self.start_by = begun_at + self.lease.start_margin_seconds
        # Not by the clock, which may be set meanwhile.
        took = self.heard_at - began
        self.lease.clock_skew_seconds = self.lease.renewed_at - begun_at
        self.lease.start_margin_seconds = max(
            LEAST_START_MARGIN_SECONDS, 2 * took, self.lease.start_margin_seconds * 0.9
        )
        return taken

    def _reads_nothing(self) -> bool:
        """Tell whether it is to take nothing more, as workers with the keys are to."""
        if self.running or not self.done or time.monotonic() - self.read_at < UNREAD_SECONDS:
            return False
        # Whether what runs within the commit can be read shows there: it goes on as it was.
        return all(
            each.held.unreadable or (self.was_unread and each.run_in_transaction)
            for each in self.done
        )

    def _note_unreadable(self, stored: list[DeliveryResult], backs_off: bool = False) -> None:
        is_unread = all(each.held.unreadable for each in stored)
        self.was_unread = is_unread and bool(stored)
        if self.running or not is_unread:
            self.read_at = time.monotonic()
        this_worker.unreadable.note(stored, backs_off)

    def _store_and_claim(self, claim: bool) -> list[HeldMessage]:
        unfinished = len(self.running)
        if not self.lease.consumer_id:
            return self._open(claim)
        if self.done:
            return self._commit(self.done, unfinished, claim)
        if claim:
            return self.store.claim(self.lease, self._batch_size, unfinished)
        self.store.close(self.lease)
        return []

    def _commit(
        self, done: list[DeliveryResult], unfinished: int, claim: bool
    ) -> list[HeldMessage]:
        """Store deliveries, and take what comes next; cancel runs whose deadlines have passed."""
        while True:
            try:
                return self.store.commit(
                    self.lease, done, in_commit, self._batch_size, unfinished, claim
                )
            except DeadlinePassed as passed:
                self._cancel(passed.run_ids)

    def _open(self, claim: bool) -> list[HeldMessage]:
        """Open the lease and claim; without a claim it is never opened."""
        if self.owner and claim:
            return self.store.open(self.lease, self.owner, self._batch_size)
        self.lease.closed = True
        return []

    def _open_alone(self, owner: Owner) -> None:
        """Open the lease and claim nothing: the claim that was to open it failed.

        Raises LeaseLost.
        """
        lease = self.lease
        opened = self.store.open_consumer(
            lease.queue_id, lease.threads, owner.cluster, owner.machine
        )
        begun = self.store.begin(opened or 0, owner.pid)
        lease.consumer_id, lease.threads = begun.consumer_id, begun.threads

    def _threads_beside(self) -> int:
        """Return the threads of the worker's other sessions of this one's queue."""
        queue_id = self.lease.queue_id
        return sum(each.threads for each in self.leases_beside() if each.queue_id == queue_id)

    def _batch_size(self, plan: StepPlan, threads: int) -> int:
        size, most = self.batches.size(plan, threads), this_worker.unreadable.most(plan.queue_id)
        return size if most is None else min(size, most)

    def _go_on_with(self, taken: list[HeldMessage]) -> None:
        """Submit what was taken, and measure what was stored only then: nothing waits for that."""
        try:
            self._submit(taken)
        finally:
            self._measure()

    def _submit(self, taken: list[HeldMessage]) -> None:
        if are_on():
            from flows.traces import spans

            spans.begin(taken)
        passed = self._cancel_overdue(taken)
        by_step: dict[int, list[HeldMessage]] = {}
        for held in taken:
            if passed and UUID(held.run_id) in passed:
                self.done.append(cancelled_early(held))
            elif held.unreadable:
                self.done.append(unread(held, held.unreadable))
            elif held.pending_outputs:
                self.done.append(gone_on(held))
            elif held.deliveries > 1 and is_exhausted(held, self.lease.queue_id):
                self.done.append(exhausted(held))
            else:
                by_step.setdefault(held.step_id, []).append(held)
        for step_id, messages in by_step.items():
            plan = step_plan(step_id)
            this_worker.measuring.note_claimed(plan.site, len(messages))
            calls = [self._call(held, plan) for held in messages]
            if plan.program.in_transaction:
                self.done += map(self._to_run_within, messages, calls, [plan] * len(calls))
            else:
                self.running |= {held.id: held for held in messages}
                # Its queue may be another one since the commit.
                threads = self.lease.threads + self._threads_beside()
                self.hosts.submit(plan.program, plan.site, calls, threads)
            self.most_bytes = max(self.most_bytes, self.batches.note(calls))

    def _cancel_overdue(self, messages: Iterable[HeldMessage]) -> set[UUID]:
        """Cancel the runs of messages whose deadlines have passed; return them."""
        now = datetime.fromtimestamp(self.lease.renewed_at, UTC)
        passed = RunDeadline.objects.passed_of([held.run_id for held in messages], now)
        self._cancel(passed)
        return passed

    def _cancel(self, run_ids: Collection[UUID]) -> None:
        """Cancel runs at their deadlines. Many take longer than the leases of the worker last."""
        for run_id in run_ids:
            deadlines.decide([run_id])
            if time.monotonic() - self.heard_at > HEARTBEAT_SECONDS:
                self.store.heartbeat(self.lease)
                self.heard_at = time.monotonic()
                for lease in self.leases_beside():
                    # Its own session finds out.
                    with suppress(LeaseLost):
                        self.store.heartbeat(lease)

    def _call(self, held: HeldMessage, plan: StepPlan) -> Call:
        correlation_id = held.correlation_id
        return Call(
            key=(self, held.id),
            correlation_id=correlation_id,
            attempt=held.deliveries,
            delivery_id=f"{correlation_id}/{plan.site.step}" + (held.branch and f"/{held.branch}"),
            body=held.body.encode(),
            start_by=self.start_by if self.lease.has_rate else 0.0,
            waits=held.waits,
            trace=held.trace and held.trace.span,
        )

    def _to_run_within(self, held: HeldMessage, call: Call, plan: StepPlan) -> DeliveryResult:
        """Return what becomes of a message whose callable is to run within the next commit."""

        def run() -> DeliveryResult:
            result = self.callables.run(plan, call, held)
            [result] = with_redeliveries([result], self.lease.queue_id)
            return result

        return replace(released(held), run_in_transaction=run)

    def _settle(self, ended: DeliveryResult) -> None:
        """Commit again, with what is known of a callable whose transaction was rolled back."""
        self.done = [ended if d.held is ended.held else d for d in self.done]

    # --- one message alone -----------------------------------------------------------------

    def _store_apart(self, done: list[DeliveryResult]) -> None:
        """Store what is done in smaller and smaller parts, to find the message that raises."""
        try:
            self._commit_part(done)
        except Exception as error:
            if self._is_of_callables(error):
                # It may be in doubt whether they are stored.
                self._read_back()
                left = {d.held.id for d in self.done}
                done = [d for d in done if d.held.id in left]
            elif not is_of_a_message(error):
                raise
            if not done:
                return
            if len(done) == 1:
                self._store_instead(done[0], error)
                return
            half = len(done) // 2
            self._store_apart(done[:half])
            self._store_apart(done[half:])

    def _is_of_callables(self, error: Exception) -> bool:
        """Tell whether the database has refused commits with callables again and again.

        It looks as if the database were in trouble, but it takes what else this session writes.
        """
        if trouble_of(error) is None or not self.callables.ran:
            return False
        self.refusals += 1
        if self.refusals <= MOST_REFUSALS:
            return False
        connection.close()
        return True

    def _commit_part(self, part: list[DeliveryResult]) -> None:
        """Store some of what is done, take nothing new and keep the lease."""
        part = with_redeliveries(part, self.lease.queue_id)
        self.callables.begin()
        unfinished = len(self.running) + len(self.done)
        self._commit(part, unfinished, claim=False)
        self._measure()
        self._note_unreadable(part)
        stored = {d.held.id for d in part}
        self.done = [d for d in self.done if d.held.id not in stored]

    def _measure(self) -> None:
        # What was to run within the commit and did not has no end yet, or its run was cancelled.
        stored = [each for each in self.lease.stored if not each.run_in_transaction]
        self.lease.stored = ()
        this_worker.measuring.note(stored)
        log_ends(stored)
        if are_on():
            from flows.traces import spans

            spans.end(stored)

    def _claim_apart(self, error: Exception) -> list[HeldMessage]:
        """Take one message. If that raises, the message dies, or waits if it cannot even die."""
        unfinished = len(self.running)
        for marks in (True, False):
            try:
                taken = self.store.claim(
                    self.lease, lambda plan, threads: unfinished + 1, unfinished, marks
                )
            except Exception as another:
                if not is_of_a_message(another):
                    raise
                error = another
                self.store.held(self.lease)
                continue
            if marks or not taken:
                return taken
            self.done += [
                unread(held, held.unreadable) if held.unreadable else without_result(held, error)
                for held in taken
            ]
            return []
        logger.error("the first message of a queue cannot be taken", exc_info=error)
        if not self.store.put_off_head(self.lease, bool(unfinished), LAST_RESORT_DELAY):
            raise error
        return []

    def _store_instead(self, done: DeliveryResult, error: Exception) -> None:
        """Store something else of a delivery that raises alone. Raises the error if nothing is."""
        if self.callables.ran and isinstance(error, DATABASE_ERRORS):
            # Some constraints are looked at when a transaction ends.
            logger.info("a callable's writes were refused: %s", error)
            self._store_apart([refused(self.callables.ran[0], error)])
            return
        held = done.held
        for instead in substitutes(done, error):
            try:
                self._commit_part([instead])
                return
            except Exception as another:
                if not is_of_a_message(another):
                    raise
                logger.info("message %s as %s: %r", held.id, instead.disposition.name, another)
        raise error

    def _stay_alive(self) -> None:
        """Renew the lease while scripts run; give up those that a stopping cluster waits for."""
        if time.monotonic() - self.heard_at > HEARTBEAT_SECONDS:
            self.store.heartbeat(self.lease)
            self.heard_at = time.monotonic()
            if self._cancel_overdue(self.running.values()):
                self.lease.cancel_requested = True
        if self.lease.cancel_requested:
            self._stop(self.store.cancelled(self.lease))
        if self._is_out_of_grace():
            self.forget()
            self.store.close(self.lease)

    def _note_running_now_and_then(self) -> None:
        """Let others see the scripts that run for long, with what they have said so far."""
        if time.monotonic() - self.looked_at <= HEARTBEAT_SECONDS or self.lease.closed:
            return
        self.looked_at = time.monotonic()
        keys = {(self, held_id) for held_id in self.running}
        found: list[tuple[HeldMessage, RunningAttempt]] = []
        for each in self.hosts.running(keys, HEARTBEAT_SECONDS):
            held = self.running[each.call.key[1]]
            attempt = running_attempt(held, each, self.lease.consumer_id)
            if held.noted != hash((attempt.logs, attempt.progress)):
                found.append((held, attempt))
                # From now on, for it may be in doubt whether it is stored.
                held.noted = held.noted or 0
        if found:
            self.store.note_running(self.lease, [attempt for _, attempt in found])
            self.heard_at = time.monotonic()
        for held, attempt in found:
            held.noted = hash((attempt.logs, attempt.progress))

    def _is_out_of_grace(self) -> bool:
        """Tell whether the cluster has been stopping for longer than a script may take."""
        if not this_worker.draining.is_set():
            return False
        self.draining_since = self.draining_since or time.monotonic()
        return time.monotonic() - self.draining_since > settings.ASYNCENGINE_GRACE_SECONDS

    def _release_waiting(self) -> None:
        """Give messages back whose scripts have not begun: the grace is for those that run."""
        for call in self.hosts.withdraw({(self, held_id) for held_id in self.running}):
            self.done.append(released(self.running.pop(call.key[1])))

    def _stop(self, cancelled: set[str]) -> None:
        """End the scripts of cancelled runs; the next commit deletes their messages."""
        self.cancelled |= cancelled
        self.done = [as_cancelled(d) if d.held.id in cancelled else d for d in self.done]
        withdrawn = self.hosts.cancel({(self, held_id) for held_id in cancelled & {*self.running}})
        for call in withdrawn:
            held = self.running.pop(call.key[1])
            self.done.append(cancelled_early(held))

    def forget(self) -> None:
        """Give up the lease without releasing it in the database."""
        self.hosts.cancel({(self, held_id) for held_id in self.running})
        self.running.clear()
        self.done.clear()
        self.lease.closed = True

    def _try_again_later(self, error: Exception, trouble: Trouble) -> None:
        """Keep what is done: scripts that ran are not to run again because of the database."""
        self.retries.begin(self.lease.consumer_id, error, trouble)

    def _read_back(self) -> None:
        """Settle a commit in doubt: the connection may have been lost before or after it.

        A commit is whole or nothing. Where messages that are done are still held as they were,
        it did not happen and is made again; else what the lease holds now is what it took.
        Raises LeaseLost where the lease has ended, which that commit may have done. A lease that it
        was to open is closed where it did not.
        """
        if self.owner and not self.lease.consumer_id:
            others = [lease.consumer_id for lease in self.leases_beside()]
            if not self.store.find_opened(self.lease, self.owner, others):
                self.lease.closed = True
                return
        held = {message.id: message for message in self.store.held(self.lease)}
        if self.running.keys() - held.keys():
            # The server has lost a claim that was committed: these may run elsewhere already.
            logger.error("consumer %s ends: its claim is lost", self.lease.consumer_id)
            self.forget()
            self.store.close(self.lease)
            return
        self.done = [d for d in self.done if held.get(d.held.id) == d.held]
        known = {*self.running, *(d.held.id for d in self.done)}
        self._submit([message for id, message in held.items() if id not in known])


def as_cancelled(result: DeliveryResult) -> DeliveryResult:
    """Return a delivery whose run was cancelled before it was stored."""
    decision = in_commit(result.decision, Circumstances(is_cancelled=True))
    return replace(result, decision=decision, run_in_transaction=None)
