"""The verbs that start, stop and repair runs. The API, the admin and the commands call these."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from flows.access import audit
from flows.errors import AlreadyReprocessed, FlowNotRunnable, PayloadErased, QueueFull
from flows.message.envelope import (
    parse_payload,
    parse_value,
    payload_of,
    takes_any_payload,
    with_payload,
)
from flows.models import DeadLetter, Flow, FlowSchedule, Message, Queue, Run, RunText, StepVersion
from flows.models.message import DEFAULT_PRIORITY, HIGHEST_PRIORITY
from flows.models.payload_text import is_encrypted
from flows.models.run_text import BEGINNING
from flows.plan import FlowPlan, flow_plan, step_plan
from flows.starts import (
    IDEMPOTENCY_KEY_AGE,
    Payload,
    Started,
    StartRequest,
    as_text,
    is_idempotency_key,
    start,
    start_as_seen,
    start_keyed,
    start_many,
    start_together,
)
from flows.starts.idempotency import key_of
from flows.starts.new_run import delayed_until, new_run
from flows.starts.rates import rates_of, within_rates
from flows.starts.starting import start_run
from flows.store import store
from flows.store.requeueing import Requeue

if TYPE_CHECKING:
    from flows.access.rights import Caller

__all__ = [
    "IDEMPOTENCY_KEY_AGE",
    "Payload",
    "StartRequest",
    "Started",
    "bypass_pause",
    "cancel",
    "cancel_at_deadline",
    "discard",
    "has_room",
    "is_idempotency_key",
    "let_one_through",
    "newest_step",
    "pause",
    "reprocess",
    "resume",
    "set_active",
    "start",
    "start_as_seen",
    "start_keyed",
    "start_like",
    "start_many",
    "start_together",
]


def start_like(
    run: Run,
    payload: bytes,
    *,
    step: StepVersion | None,
    user: Caller | None = None,
    idempotency_key: str | None = None,
    counts: bool = False,
    is_another: bool = False,
    reason: str = "",
) -> Started:
    """Start a new run of the flow as it is now, with a payload that a step of another run got.

    It begins at the step of the same name, or at the first one without a step; the new run names
    the one that it repeats. With `counts` it counts in the start rates. The same idempotency key
    gives the same new run. The audit log has it with the reason, and whether the payload is
    another one (`is_another`). Raises as `start` does, and FlowNotRunnable where the flow or the
    step is gone.
    """
    if run.flow_version.flow is None:
        raise FlowNotRunnable("The flow was deleted.")
    plan = flow_plan(run.flow_version.flow.name)
    first = plan.require_runnable()
    at = step_plan(newest_step(step).pk) if step else first
    if not at.queue_id:
        raise FlowNotRunnable(f"The step {at.site.step!r} has no queue.")
    rates = rates_of(plan, user) if counts else ()
    new = new_run(plan, payload, user, DEFAULT_PRIORITY, None, at=at, rates=rates)

    def store_new() -> None:
        store().start([new])
        changes: dict[str, Any] = {"repeats": run.pk}
        if at.position:
            # The first step alone marks a run as running, at its first delivery.
            changes |= {"status": Run.Status.RUNNING, "started_at": F("created_at")}
        Run.objects.filter(pk=new.correlation_id).update(**changes)
        _require_not_erased(run)
        after = {"new run": str(new.correlation_id)}
        after |= {"step": step.name} if step else {}
        after |= {"payload": "another one"} if is_another else {}
        audit.record("start again", run, after=after, reason=reason, user=user)

    if idempotency_key is None:
        with within_rates([new]), store().database.transaction():
            store_new()
        return Started(new.correlation_id, plan.name, rates=rates)
    key = key_of(new, idempotency_key, repeats=(str(run.pk), step.name if step else None))
    return replace(start_run(new, key, store_new), rates=rates)


def _require_not_erased(run: Run) -> None:
    """Raise PayloadErased if it was erased since its payload was read.

    The lock lets an erasure that comes later see the new run, which has the payload.
    """
    found = Run.objects.filter(pk=run.pk).select_for_update(of=("self",), no_key=True)
    if any(found.values_list("erased_at", flat=True)):
        raise PayloadErased


def has_room(plan: FlowPlan, count: int, *, start_at: datetime | None = None) -> bool:
    """Tell whether the first queue of a flow takes this number of starts now."""
    first = plan.require_runnable()
    ready = 0 if delayed_until(start_at) else count
    try:
        store().refuse_if_full(first.queue_id, ready, count - ready)
    except QueueFull:
        return False
    return True


# --- runs and dead letters ---------------------------------------------------------------------


def cancel(run: Run, *, user: Caller | None = None, reason: str = "") -> Run:
    """Cancel a run. Its waiting message leaves at once; a running script is stopped within 2 s.

    A failed run whose other branches go on is cancelled as well, and its dead letters are
    discarded. A run that has ended stays as it is. The audit log has the reason.
    """
    before = {"status": run.status}
    with store().database.transaction():
        if store().cancel(run.pk, user.pk if user else None):
            _make_text(run)
            after = {"status": Run.Status.CANCELLED.value}
            audit.record("cancel", run, before=before, after=after, reason=reason, user=user)
    # What waited is read by those who want it: its key may be missing here.
    run.refresh_from_db(from_queryset=Run.objects.defer("cancelled_input"))
    run.__dict__.pop("cancelled_input", None)
    return run


def cancel_at_deadline(run: Run, error: str) -> bool:
    """Cancel a run that has not ended by its deadline; return whether it was cancelled.

    The audit log has no entry: the engine does it by itself. The error says why.
    """
    with store().database.transaction():
        if not store().cancel(run.pk, None, error):
            return False
        _make_text(run)
        return True


def _make_text(run: Run) -> None:
    """Add the payload that waited to the texts of the search: no step run has it."""
    kept = Run.objects.filter(pk=run.pk, cancelled_input__isnull=False)
    for (body,) in kept.exclude(is_encrypted("cancelled_input")).values_list("cancelled_input"):
        RunText.objects.create(run=run, text=(payload_of(str(body)) or "")[:BEGINNING])


def bypass_pause(run: Run, *, user: Caller | None = None, reason: str = "") -> bool:
    """Have this run alone go on while its queues or its flow are paused. False if it has ended."""
    with store().database.transaction():
        is_changed = store().bypass_pause(run.pk)
        if is_changed:
            audit.record("bypass the pause", run, reason=reason, user=user)
        return is_changed


def reprocess(
    dead_letter: DeadLetter,
    *,
    user: Caller | None = None,
    payload: Payload | None = None,
    newest_script: bool = False,
    at: StepVersion | None = None,
    reason: str = "",
) -> Run:
    """Requeue a dead letter at the step where it failed, with a new payload if one is given.

    Earlier steps are not run again. The run keeps its script versions. With `newest_script` it goes
    on with the flow as it is now, from the step of the same name; a caller that has looked that
    step up, by `newest_step`, gives it as `at`. Raises AlreadyReprocessed (also where it was
    discarded), PayloadErased, QueueFull, PayloadInvalid, and FlowNotRunnable where the step or its
    queue no longer exists.
    """
    if newest_script:
        at = newest_step(dead_letter.step)
    if not DeadLetter.objects.open().filter(pk=dead_letter.pk).exists():
        raise PayloadErased if is_erased(dead_letter.run_id) else AlreadyReprocessed
    step = at or dead_letter.step
    body = dead_letter.body if payload is None else _repaired(dead_letter.body, payload)
    order = Requeue(dead_letter, step, body, follows=at is not None)
    with store().database.transaction():
        requeued = store().requeue([order], user.pk if user else None)
        if requeued.full is not None:
            raise QueueFull(queue_id=order.queue_id)
        if not requeued.ids:
            raise AlreadyReprocessed
        after = {"run": str(dead_letter.run_id), "script": str(step.script_version)}
        if payload is not None:
            after["payload"] = "another one"
        audit.record("reprocess", dead_letter, after=after, reason=reason, user=user)
    return Run.objects.get(pk=dead_letter.run_id)


def _repaired(body: str, payload: Payload) -> str:
    """Return the envelope with that payload. Only an object may replace an object."""
    raw = as_text(payload)
    if takes_any_payload(body):
        parse_value(raw, comes_back=True)
    else:
        parse_payload(raw, comes_back=True)
    return with_payload(body, raw)


def is_erased(run_id: UUID) -> bool:
    """Say whether the payloads of a run were erased."""
    return Run.objects.filter(pk=run_id, erased_at__isnull=False).exists()


def newest_step(step: StepVersion) -> StepVersion:
    """Return the step of the same name in the flow as it is now. Raises FlowNotRunnable."""
    if flow := step.flow_version.flow:
        for newest in flow.make_version().steps.filter(name=step.name):
            return newest
    told = "without the newest version it runs on its own, or give a step that name again"
    raise FlowNotRunnable(f"The flow no longer has a step {step.name!r}: {told}.")


def discard(dead_letter: DeadLetter, *, user: Caller | None = None, reason: str = "") -> Run:
    """Discard a dead letter.

    A run whose dead letters are all discarded stays failed. If another branch of it was requeued
    and has not died again, the run goes on without the discarded branches. Raises
    AlreadyReprocessed, and QueueFull if it would go on at a join whose queue is full.
    """
    with store().database.transaction():
        store().discard(dead_letter, user.pk if user else None)
        after = {"run": str(dead_letter.run_id)}
        audit.record("discard", dead_letter, after=after, reason=reason, user=user)
    return Run.objects.get(pk=dead_letter.run_id)


# --- pausing -----------------------------------------------------------------------------------


def pause(target: Queue | Flow, *, user: Caller | None = None, reason: str = "") -> None:
    """Pause a queue, or all queues of a flow: messages wait, and running scripts go on.

    The reason is shown while it is paused, and stays in the audit log.
    """
    with audit.acting("pause", user=user, reason=reason):
        _set_paused(target, True, user, reason)


def let_one_through(queue: Queue, *, user: Caller | None = None, reason: str = "") -> UUID | None:
    """Have the run of the queue's next ready message bypass the pause; return its id.

    None where no message is ready that does not bypass it already.
    """
    ready = Message.objects.filter(
        queue=queue.pk, bypasses_pause=False, available_at__lte=store().database.now()
    ).order_by("available_at")
    for priority in range(HIGHEST_PRIORITY, -1, -1):
        # Each takes one probe of the index of waiting messages.
        if message := ready.filter(priority=priority).defer("body").first():
            run = Run.objects.get(pk=message.run_id)
            return run.pk if bypass_pause(run, user=user, reason=reason) else None
    return None


def resume(target: Queue | Flow, *, user: Caller | None = None, reason: str = "") -> None:
    """Resume a queue, or a flow with those of its queues that are not paused themselves.

    The audit log has the reason.
    """
    with audit.acting("resume", user=user, reason=reason):
        _set_paused(target, False, user)


def _set_paused(target: Queue | Flow, paused: bool, user: Caller | None, reason: str = "") -> None:
    target.refresh_from_db()
    if target.paused == paused:
        return
    target.paused = paused
    target.paused_by_id = user.pk if user and paused else None
    target.pause_reason = reason
    # The models' signals write the entry of the audit log.
    target.save(update_fields=["paused", "paused_by", "pause_reason"])
    store().database.wake()


def set_active(
    schedule: FlowSchedule, active: bool, *, user: Caller | None = None, reason: str = ""
) -> None:
    """Resume or pause a schedule: while it is not active it starts nothing, and misses no times.

    The audit log has the reason. Raises ObjectDoesNotExist if it was deleted meanwhile.
    """
    verb = "resume" if active else "pause"
    with transaction.atomic(), audit.acting(verb, user=user, reason=reason):
        Flow.objects.select_for_update(no_key=True).get(pk=schedule.flow_id)
        # Locked, for all of it is saved: a user may be saving its page.
        locked = FlowSchedule.objects.select_for_update(no_key=True)
        schedule.refresh_from_db(from_queryset=locked)
        if schedule.active != active:
            schedule.active = active
            schedule.save()
