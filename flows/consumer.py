"""A consumer session: claim messages, run the step's script on them, commit, repeat."""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import timedelta
from typing import Protocol

import orjson
from django.conf import settings
from django.db import connection
from django.db.utils import Error as DatabaseFault

from flows.errors import LeaseLost, StepError, StepFailed, StepRejected
from flows.models import DeadLetter, Queue, StepRun
from flows.plan import StepPlan, step_plan
from flows.store import Done, Fate, Held, Lease, store
from scripts.errors import OutputInvalid, ScriptError, ScriptRejected, ScriptRetry
from scripts.runner import Call, HostPool, Outcome

logger = logging.getLogger(__name__)

# A batch is about this much work: long enough that its transaction costs little, short enough
# that what it finished is soon to be seen.
BATCH_SECONDS = 0.1
BATCH_MESSAGES = 500
BATCH_BYTES = 8 * 1024 * 1024

_hosts: HostPool | None = None


def consume(consumer_id: int) -> None:
    """Work through one consumer session. This is the function of the django-q2 task."""
    try:
        lease = store().begin(consumer_id, os.getpid())
    except LeaseLost:
        logger.info("consumer %s came too late: its lease has ended", consumer_id)
        return
    Session(lease, hosts()).work()


def hosts() -> HostPool:
    """Return this worker's script hosts; they stay warm from session to session."""
    global _hosts
    if _hosts is None:
        _hosts = HostPool()
    return _hosts


def close_hosts() -> None:
    """End this worker's script hosts."""
    global _hosts
    if _hosts is not None:
        _hosts.close()
        _hosts = None


class Draining(Protocol):
    """Whether this worker's cluster is stopping."""

    def is_set(self) -> bool: ...


# flows.cluster puts a flag here that is shared by its processes; elsewhere nothing drains.
draining: Draining = threading.Event()


class Session:
    def __init__(self, lease: Lease, hosts: HostPool) -> None:
        self.lease = lease
        self.hosts = hosts
        self.store = store()
        self.running: dict[str, Held] = {}
        self.done: list[Done] = []
        self.ends_at = time.monotonic() + settings.ASYNCENGINE_SLICE_SECONDS
        self.heard_at = time.monotonic()
        self.draining_since: float | None = None
        self.bytes_per_message = 1.0

    def work(self) -> None:
        """Work until there is nothing left, the time slice is over or the lease is lost."""
        try:
            self._submit(self._commit())
            while not self.lease.closed:
                self._collect()
                if self.done or not self.running:
                    self._submit(self._commit())
                else:
                    self._stay_alive()
        except LeaseLost:
            logger.warning("consumer %s lost its lease; nothing is written", self.lease.consumer_id)
            self._forget_running()
        except DatabaseFault:
            logger.exception("consumer %s lost the database", self.lease.consumer_id)
            self._forget_running()
            self._release()

    def _commit(self) -> list[Held]:
        """Store what is done and take what comes next."""
        taken = self.store.commit(
            self.lease, self.done, len(self.running), self._batch_size, self._may_claim()
        )
        self.done = []
        self.heard_at = time.monotonic()
        return taken

    def _may_claim(self) -> bool:
        return not draining.is_set() and time.monotonic() < self.ends_at

    def _batch_size(self, plan: StepPlan, threads: int) -> int:
        """One message a thread for slow scripts and unknown ones, many for fast ones."""
        seconds = self.hosts.seconds_per_call(plan.program)
        if seconds is None:
            return threads
        # A slow script would leave its threads idle at the end of every slice.
        self.ends_at = max(self.ends_at, self.heard_at + min(10 * seconds, 30.0))
        fitting = min(
            BATCH_SECONDS / max(seconds, 1e-6),
            BATCH_BYTES / self.bytes_per_message,
            BATCH_MESSAGES,
        )
        return max(int(fitting), threads)

    def _submit(self, taken: list[Held]) -> None:
        by_step: dict[int, list[Held]] = {}
        for held in taken:
            if held.deliveries > 1 and self._is_exhausted(held):
                self.done.append(self._given_up(held))
            else:
                by_step.setdefault(held.step_id, []).append(held)
        for step_id, messages in by_step.items():
            plan = step_plan(step_id)
            calls = [self._call(held, plan) for held in messages]
            self.running |= {held.id: held for held in messages}
            self.hosts.submit(plan.program, plan.site, calls, self.lease.threads)
            size = sum(len(call.body) for call in calls) / len(calls)
            self.bytes_per_message = max(size, self.bytes_per_message * 0.9)

    def _call(self, held: Held, plan: StepPlan) -> Call:
        correlation_id = held.correlation_id
        return Call(
            key=held.id,
            correlation_id=correlation_id,
            attempt=held.deliveries,
            delivery_id=f"{correlation_id}/{plan.site.step}",
            body=held.body.encode(),
        )

    def _collect(self) -> None:
        if self.done or not self.running:
            return
        for outcome in self.hosts.collect(timeout=0.5):
            # What was forgotten after a lost lease may still answer: it is nobody's now.
            if held := self.running.pop(outcome.call.key, None):
                self.done.append(self._judge(held, outcome))

    def _stay_alive(self) -> None:
        """Renew the lease while scripts run; give up those that a stopping cluster waits for."""
        if time.monotonic() - self.heard_at > settings.ASYNCENGINE_LEASE_SECONDS / 4:
            self.store.heartbeat(self.lease)
            self.heard_at = time.monotonic()
        if draining.is_set():
            self.draining_since = self.draining_since or time.monotonic()
            if time.monotonic() - self.draining_since > settings.ASYNCENGINE_GRACE_SECONDS:
                self._forget_running()
                self._release()

    def _forget_running(self) -> None:
        self.hosts.cancel(set(self.running))
        self.running.clear()
        self.done.clear()
        self.lease.closed = True

    def _release(self) -> None:
        """Let what it holds wait again, so that nobody has to find out that the lease ended."""
        try:
            connection.close_if_unusable_or_obsolete()
            self.store.close(self.lease)
        except DatabaseFault:
            logger.info("consumer %s is left to the reaper", self.lease.consumer_id)

    # --- what came of a delivery -----------------------------------------------------------

    def _judge(self, held: Held, outcome: Outcome) -> Done:
        done = Done(
            held=held,
            fate=Fate.PASSED,
            outcome=StepRun.Outcome.COMPLETED.value,
            started_at=outcome.started_at,
            finished_at=outcome.finished_at,
            logs=orjson.dumps(outcome.logs).decode() if outcome.logs else "",
            warning=outcome.warning is not None,
        )
        if outcome.error is None:
            done.output = (outcome.output or b"null").decode()
        else:
            self._fail(done, step_error(outcome.error))
        return done

    def _fail(self, done: Done, error: StepError) -> None:
        done.error = storable(str(error))
        if isinstance(error, StepRejected):
            done.fate, done.outcome = Fate.BURIED, StepRun.Outcome.REJECTED.value
            done.reason = error.reason
            return
        done.outcome = StepRun.Outcome.FAILED.value
        queue = Queue.objects.get(pk=self.lease.queue_id)
        if done.held.deliveries >= queue.max_deliveries:
            done.fate, done.reason = Fate.BURIED, DeadLetter.Reason.EXHAUSTED.value
        else:
            done.fate = Fate.AGAIN
            after = error.after if isinstance(error, StepFailed) else None
            done.delay = queue.backoff.delay(done.held.deliveries) if after is None else after

    def _is_exhausted(self, held: Held) -> bool:
        return held.deliveries > Queue.objects.get(pk=self.lease.queue_id).max_deliveries

    def _given_up(self, held: Held) -> Done:
        """Bury a message whose last delivery ended with the death of its worker."""
        held.deliveries -= 1
        now = time.time()
        return Done(
            held=held,
            fate=Fate.BURIED,
            outcome=StepRun.Outcome.FAILED.value,
            started_at=now,
            finished_at=now,
            error="The worker died during the last delivery.",
            reason=DeadLetter.Reason.EXHAUSTED.value,
        )


def step_error(error: ScriptError) -> StepError:
    """Say what a script's error means for its message."""
    if isinstance(error, ScriptRejected):
        return StepRejected(str(error), reason=DeadLetter.Reason.REJECTED.value)
    if isinstance(error, OutputInvalid):
        return StepRejected(str(error), reason=DeadLetter.Reason.INVALID.value)
    if isinstance(error, ScriptRetry):
        after = None if error.after is None else timedelta(seconds=error.after)
        return StepFailed(str(error), after=after)
    traceback = getattr(error, "traceback", "")
    return StepFailed(f"{error}\n\n{traceback}".strip())


def storable(text: str) -> str:
    """Return the text without what a database cannot store: NUL and lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
