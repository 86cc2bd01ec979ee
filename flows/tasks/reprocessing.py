"""Bulk reprocessing: requeue dead letters by a filter, at a rate, with a sample first.

A reprocessing is a row that django-q2 tasks advance, one after the other. A task works for about
a second in small transactions and queues the next. If a task is lost with its worker, or has
nothing to do for a while, the broker queues another when the row is due.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, Max, OuterRef, Q, Value
from django.db.models.functions import Concat
from django_q.tasks import async_task

from flows.access import audit
from flows.dead_letters import DeadLetterFilter, Matched, count_by_step
from flows.models import DeadLetter, Message, Reprocessing, Run
from flows.models.reprocessing import ReprocessedLetter as Letter
from flows.store import store
from flows.tasks.reprocessing_batch import PATIENCE_SECONDS, advance_once, take

SAMPLE = 10
SLICE_SECONDS = 1.0


def reprocess_many(
    filter: DeadLetterFilter,
    *,
    user: Any = None,
    flow_ids: Collection[int] | None = None,
    rate_per_second: float | None = None,
    stop_after_failures: int | None = None,
    sample: int = SAMPLE,
    newest_script: bool = False,
    dry_run: bool = False,
    reason: str = "",
) -> Matched:
    """Reprocess the dead letters that are open now. Returns before the first is requeued.

    `flow_ids` are the flows that the caller may operate, None for all. The first `sample` runs have
    to end before the rest follows; 0 for no sample. It stops when `stop_after_failures` have failed
    again. A dry run counts and stores nothing.
    """
    with store().database.transaction():
        letters = filter.open(flow_ids)
        steps = count_by_step(letters)
        matched = sum(step.matched for step in steps)
        if dry_run:
            return Matched(matched, steps)
        now = store().database.now()
        reprocessing = Reprocessing.objects.create(
            filter=filter.document(),
            flow_ids=None if flow_ids is None else sorted(flow_ids),
            script=Reprocessing.ScriptChoice.NEWEST
            if newest_script
            else Reprocessing.ScriptChoice.OWN,
            rate_per_second=rate_per_second,
            stop_after_failures=stop_after_failures,
            sample=sample,
            matched=matched,
            last_id=letters.aggregate(last=Max("id"))["last"] or 0,
            user=user,
            created_at=now,
            due_at=now + timedelta(seconds=PATIENCE_SECONDS),
        )
        _send(reprocessing.pk, reprocessing.fencing_token)
        order = _order(reprocessing)
        audit.record("reprocess many", reprocessing, after=order, reason=reason, user=user)
    return Matched(matched, steps, reprocessing)


def _order(reprocessing: Reprocessing) -> dict[str, Any]:
    """Return what was ordered, for the audit log."""
    names = ("filter", "flow_ids", "script", "rate_per_second", "stop_after_failures", "sample")
    order = {name: getattr(reprocessing, name) for name in (*names, "matched")}
    return {name: value for name, value in order.items() if value is not None}


def stop(reprocessing: Reprocessing, *, user: Any = None, reason: str = "") -> None:
    """Stop a reprocessing. Runs that were requeued go on. One that has ended stays as it is."""
    running = Reprocessing.objects.filter(pk=reprocessing.pk, state=Reprocessing.State.RUNNING)
    note = f"Stopped by {user.get_username()}." if user else "Stopped."
    with store().database.transaction():
        if running.update(state=Reprocessing.State.STOPPED, note=note):
            before, after = ({"state": each} for each in ("RUNNING", "STOPPED"))
            changed: Any = {"before": before, "after": after}
            audit.record("stop", reprocessing, **changed, reason=reason, user=user)
    reprocessing.refresh_from_db()


def go_on(reprocessing: Reprocessing, *, user: Any = None, reason: str = "") -> None:
    """Go on with a reprocessing that stopped; as many may fail again as could before."""
    stopped = Reprocessing.objects.filter(pk=reprocessing.pk, state=Reprocessing.State.STOPPED)
    with store().database.transaction():
        found = stopped.select_for_update(of=("self",)).first()
        if found is not None:
            _take_token(found, store().database.now())
            found.state, found.note = Reprocessing.State.RUNNING, ""
            found.finished_at, found.failed_before = None, found.failed_again
            found.save()
            _send(found.pk, found.fencing_token)
            before, after = ({"state": each} for each in ("STOPPED", "RUNNING"))
            changed: Any = {"before": before, "after": after}
            audit.record("go on", found, **changed, reason=reason, user=user)
    reprocessing.refresh_from_db()


def wake_overdue() -> float:
    """Queue a task for every reprocessing that is due. The broker calls this.

    Returns the seconds until the next call, at most one.
    """
    now = store().database.now()
    unfinished = Reprocessing.objects.filter(finished_at=None).order_by("due_at")
    wait = 1.0
    for pk, token, due_at in unfinished.values_list("pk", "fencing_token", "due_at"):
        if due_at > now:
            wait = min(wait, max((due_at - now).total_seconds(), 0.01))
            break
        _wake(pk, token, now)
    return wait


def _wake(pk: int, token: int, now: datetime) -> None:
    with store().database.transaction():
        reprocessing = take(pk, token)
        if reprocessing is not None and reprocessing.due_at <= now:
            _take_token(reprocessing, now)
            reprocessing.save(update_fields=["fencing_token", "due_at"])
            _send(reprocessing.pk, reprocessing.fencing_token)


def advance(pk: int, token: int) -> None:
    """Advance a reprocessing for about a second. This is the function of the django-q2 task.

    Only the task that was queued last does anything, and only once.
    """
    if not _begin(pk, token):
        return
    token += 1
    ends_at = time.monotonic() + SLICE_SECONDS
    pause: float | None = 0.0
    while pause == 0.0:
        if time.monotonic() > ends_at:
            _send(pk, token)
            return
        pause = advance_once(pk, token)


def _send(pk: int, token: int) -> None:
    async_task(
        "flows.tasks.reprocessing.advance",
        pk,
        token,
        task_name=f"reprocessing-{pk}-{token}",
        # The result is in the row. After an unexpected error the broker queues another task.
        save=False,
        ack_failure=True,
    )


def _take_token(reprocessing: Reprocessing, now: datetime) -> None:
    reprocessing.fencing_token += 1
    reprocessing.due_at = now + timedelta(seconds=PATIENCE_SECONDS)


def _begin(pk: int, token: int) -> bool:
    """Take the next token, and count what has ended since the last task."""
    with store().database.transaction():
        reprocessing = take(pk, token)
        if reprocessing is None:
            return False
        _take_token(reprocessing, store().database.now())
        _count_ended(reprocessing)
        _stop_after_failures(reprocessing)
        reprocessing.save()
        return True


def _count_ended(reprocessing: Reprocessing) -> None:
    """Count the letters whose run, or branch of it, has come to an end."""
    pending = reprocessing.letters.filter(outcome=Letter.Result.PENDING)
    newer = DeadLetter.objects.filter(
        run=OuterRef("dead_letter__run"), pk__gt=OuterRef("dead_letter_id")
    )
    branch = OuterRef("dead_letter__branch")
    in_branch = Q(branch=branch) | Q(branch__startswith=Concat(branch, Value(".")))
    # It failed again, even if it was requeued a second time since; without a letter where its
    # branches were too large together.
    has_failed = Exists(newer) | Q(dead_letter__run__status=Run.Status.FAILED)
    failed = Exists(newer.filter(in_branch)) | Q(has_failed, dead_letter__branch="")
    messages = Message.objects.filter(in_branch, run=OuterRef("dead_letter__run"), branch__gt="")
    # Other branches may go on, or be dead, when this one has come to its end.
    branch_ended = Q(dead_letter__branch__gt="") & ~Exists(messages)
    completed = Q(dead_letter__run__status=Run.Status.COMPLETED) | branch_ended
    cancelled = Q(dead_letter__run__status=Run.Status.CANCELLED)

    def count(condition: Any, result: Letter.Result) -> int:
        return pending.filter(condition).update(outcome=result)

    reprocessing.cancelled += count(cancelled & ~failed, Letter.Result.CANCELLED)
    reprocessing.completed += count(completed & ~failed & ~cancelled, Letter.Result.COMPLETED)
    reprocessing.failed_again += count(failed, Letter.Result.FAILED)
    if reprocessing.outstanding and not pending.exists():
        # Their runs were purged before they were counted, so they have ended.
        reprocessing.completed += reprocessing.outstanding


def _stop_after_failures(reprocessing: Reprocessing) -> None:
    most = reprocessing.stop_after_failures
    is_running = reprocessing.state == Reprocessing.State.RUNNING
    failed = reprocessing.failed_again - reprocessing.failed_before
    if most is not None and is_running and failed >= most:
        reprocessing.state = Reprocessing.State.STOPPED
        reprocessing.note = f"Stopped itself: {failed} failed again."
