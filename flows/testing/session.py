from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from django.db import DatabaseError

from flows.plan import StepPlan
from flows.store import DeliveryResult, HeldMessage, Lease, store
from flows.store.troubles import Trouble
from flows.testing.clock import Clock
from flows.testing.pool import KitPool
from flows.testing.transactions import hooks_so_far, run_hooks
from flows.worker.session import Session
from flows.worker.transactional import TransactionalCallables
from scripts.protocol.calls import Call

CLUSTER = "flow-kit"


class KitFunctions(TransactionalCallables):
    """Callables that run within the commits of a test, timed by its clock."""

    def __init__(self, pool: KitPool, clock: Clock) -> None:
        super().__init__(pool)
        self._clock = clock

    def run(self, plan: StepPlan, call: Call, held: HeldMessage) -> DeliveryResult:
        done = self._clock.stamped(super().run(plan, call, held))
        self.ran[-1:] = [done]
        return done


class KitSession(Session):
    """A worker's session in the thread of a test. It ends when its queue has no ready message."""

    def __init__(
        self, lease: Lease, pool: KitPool, clock: Clock, most: int | None, check: Callable[[], None]
    ) -> None:
        super().__init__(lease, pool)
        self.callables = KitFunctions(pool, clock)
        self.delivered = 0
        self._clock = clock
        self._most = most
        self._check = check

    def work(self) -> int:
        """Deliver the ready messages, or at most the given number, and return the number delivered.

        Raises what the test's stubs have raised, once the delivery is stored.
        """
        __tracebackhide__ = True
        since = hooks_so_far()
        try:
            self._step(since)
            while not self.lease.closed:
                self._wait()
                self._step(since)
        finally:
            if not self.lease.closed:
                self._give_back()
        return self.delivered

    def _give_back(self) -> None:
        """Release the held messages: a test may expect the exception and go on."""
        self.forget()
        # A broken transaction cannot go on.
        with suppress(DatabaseError):
            self.store.close(self.lease)

    def _step(self, since: int) -> None:
        __tracebackhide__ = True
        self.go_on(claim=self._most is None or not self.delivered)
        run_hooks(since)
        if not self.running:
            self._check()

    def _wait(self) -> None:
        """Wait for scripts. For a rate limit, time moves on."""
        if not self.running and not self.done:
            self._clock.advance(timedelta(seconds=self.lease.next_start_seconds))
            self.idle_until = 0.0
            return
        for outcome in self.hosts.collect(self.patience()):
            session, held_id = outcome.call.key
            if session is self:
                self.finish(held_id, outcome)

    def _batch_size(self, plan: StepPlan, threads: int) -> int:
        return super()._batch_size(plan, threads) if self._most is None else self._most

    def _submit(self, taken: list[HeldMessage]) -> None:
        self.delivered += len(taken)
        super()._submit(taken)

    def _try_again_later(self, error: Exception, trouble: Trouble) -> None:
        # A transaction has no second attempt, and the test must see the error.
        raise error


def work_on(
    queue_id: int,
    threads: int,
    pool: KitPool,
    clock: Clock,
    most: int | None,
    check: Callable[[], None],
) -> int:
    """Work on a queue in one session, and return the number of delivered messages."""
    __tracebackhide__ = True
    consumer_id = store().open_consumer(queue_id, threads, CLUSTER, CLUSTER)
    if consumer_id is None:
        return 0
    lease = store().begin(consumer_id, os.getpid())
    return KitSession(lease, pool, clock, most, check).work()
