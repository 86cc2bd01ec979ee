"""Cancel the runs that have not ended by their deadlines.

A worker begins no script of a run whose deadline has passed, stops those that run, and stores no
outcome: it cancels the run. For all others each cluster's broker looks once a second whether a
deadline has passed, by an index of those that are open, and queues a task of django-q2. The task
decides each deadline once: it cancels the run, or notes that the run had ended. If the task is lost
with its worker, the broker queues another.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from uuid import UUID

from django_q.tasks import async_task

from flows import engine
from flows.models import Run, RunDeadline
from flows.monitoring.times import rfc3339
from flows.store import store

BATCH = 200
# A task that is not done after this time leaves the rest to the next one.
BUDGET_SECONDS = 4.0
# While deadlines stay open that have passed, a cluster queues another task after this time.
AGAIN_SECONDS = 5.0


class DeadlineWatch:
    """Queues the task where a deadline has passed. The broker of each cluster has one."""

    def __init__(self) -> None:
        self._queued_at = -AGAIN_SECONDS

    def look(self) -> bool:
        """Tell whether a task was queued."""
        clock = time.monotonic()
        passed = RunDeadline.objects.passed(store().database.now())
        if clock - self._queued_at < AGAIN_SECONDS or not passed.exists():
            return False
        # The result is in the rows.
        async_task(
            "flows.tasks.deadlines.cancel_overdue",
            task_name="deadlines",
            save=False,
            ack_failure=True,
        )
        self._queued_at = clock
        return True


def cancel_overdue(budget_seconds: float = BUDGET_SECONDS) -> int:
    """Decide the deadlines that have passed, the oldest first; return how many runs it cancels."""
    ends_at = time.monotonic() + budget_seconds
    cancelled = 0
    while time.monotonic() < ends_at:
        now = store().database.now()
        passed = RunDeadline.objects.passed(now)
        batch = list(passed.values_list("pk", flat=True)[:BATCH])
        if not batch:
            break
        _note_ended(batch)
        cancelled += decide(batch)
    return cancelled


def decide(run_ids: Collection[UUID]) -> int:
    """Decide the deadlines of these runs, which have passed; return how many runs it cancels."""
    if not run_ids:
        return 0
    undecided = RunDeadline.objects.filter(pk__in=run_ids, was_missed=None)
    return sum(_decide(deadline) for deadline in undecided.order_by("at"))


def _note_ended(run_ids: Sequence[UUID]) -> None:
    """Note the deadlines that were kept, which most are."""
    over = (Run.Status.COMPLETED, Run.Status.CANCELLED)
    with store().database.transaction():
        RunDeadline.objects.filter(
            was_missed=None, pk__in=Run.objects.filter(pk__in=run_ids, status__in=over)
        ).update(was_missed=False)


def _decide(deadline: RunDeadline) -> bool:
    """Cancel the run if it has not ended; return whether it was cancelled."""
    # A failed run may go on with other branches. The key of its payloads may be missing here.
    run = Run.objects.only("pk").filter(pk=deadline.pk).first()
    error = f"The run had not ended by its deadline, {rfc3339(deadline.at)}."
    with store().database.transaction():
        was_missed = run is not None and engine.cancel_at_deadline(run, error)
        # Another task may have decided it meanwhile.
        RunDeadline.objects.filter(pk=deadline.pk, was_missed=None).update(was_missed=was_missed)
    return was_missed
