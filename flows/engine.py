"""The verbs that start, stop and repair runs. The API, the admin and the commands call these."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    connection,
    transaction,
)
from django.db.models import F, QuerySet
from uuid_utils.compat import uuid7

from flows.access import audit
from flows.errors import (
    AlreadyReprocessed,
    CommitInDoubt,
    DelayTooLong,
    FlowError,
    FlowNotRunnable,
    IdempotencyConflict,
    PayloadInvalid,
    QueueFull,
)
from flows.message.digest import is_of_request, request_digest
from flows.message.envelope import (
    parse_payload,
    parse_value,
    payload_of,
    takes_any_payload,
    with_payload,
    wrap,
)
from flows.message.python_payload import write_payload
from flows.models import DeadLetter, Flow, IdempotencyKey, Message, Queue, Run, RunText, StepVersion
from flows.models.message import DEFAULT_PRIORITY, HIGHEST_PRIORITY
from flows.models.run_text import BEGINNING
from flows.models.users import caller_of
from flows.options import check_options
from flows.plan import FlowPlan, StepPlan, flow_plan, step_plan
from flows.store import NewRun, store

if TYPE_CHECKING:
    from flows.access.rights import Caller

# A mapping of Python values, or JSON text, which travels as it is.
Payload = Mapping[str, Any] | bytes

IDEMPOTENCY_KEY_AGE = timedelta(hours=24)
SECONDS_PER_DAY = 86_400
# After each such number of payloads the room in the queue is checked again.
PAYLOADS_READ_AHEAD = 100
# No comma: WSGI joins the values of a header that was sent twice with one.
IDEMPOTENCY_KEY = re.compile(r"[\x20-\x2b\x2d-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Started:
    """The answer to a start; `repeated` if the idempotency key named a run that exists."""

    correlation_id: UUID
    flow_name: str
    repeated: bool = False


def start(
    flow: str | FlowPlan,
    payload: Payload,
    *,
    user: Caller | None = None,
    idempotency_key: str | None = None,
    priority: int = DEFAULT_PRIORITY,
    start_at: datetime | None = None,
) -> Started:
    """Start a run. It is stored when this returns, or with the transaction around it.

    Waiting messages of a higher priority go first, 0 to 9. Before `start_at` the run waits. An
    idempotency key belongs to the user and the flow.

    The flow is given by its name, or by its plan if the caller has just looked it up. Bytes are
    taken as JSON text and travel unchanged, numbers of any length included.
    Raises UnknownFlow, FlowNotRunnable, PayloadInvalid, OptionInvalid, QueueFull,
    IdempotencyConflict, and CommitInDoubt if the database was lost and the run may be stored.
    """
    priority = check_options(priority, start_at, idempotency_key)
    plan = _plan_of(flow)
    run = _new_run(plan, payload, user, priority, _delayed_until(start_at))
    if idempotency_key is not None:
        key = _key_of(run, idempotency_key, start_at)
        try:
            return _start_once(run, key)
        except CommitInDoubt as doubt:
            with _settling(doubt):
                return _start_once(run, key)
    _store([run])
    return Started(run.correlation_id, plan.name)


def start_many(
    flow: str | FlowPlan,
    payloads: Iterable[Payload],
    *,
    user: Caller | None = None,
    priority: int = DEFAULT_PRIORITY,
    start_at: datetime | None = None,
) -> list[UUID]:
    """Start a run for each payload, all in one transaction or none. Raises as `start` does.

    PayloadInvalid names the payload: `$[3].amount` is in the fourth. Payloads are read while the
    queue has room for them, so an endless iterable ends with QueueFull.
    """
    priority = check_options(priority, start_at)
    plan = _plan_of(flow)
    delayed_until = _delayed_until(start_at)
    runs: list[NewRun] = []
    for number, payload in enumerate(payloads):
        if number and number % PAYLOADS_READ_AHEAD == 0:
            ready, delayed = (0, number) if delayed_until else (number, 0)
            store().refuse_if_full(runs[0].queue_id, ready, delayed)
        try:
            runs.append(_new_run(plan, payload, user, priority, delayed_until))
        except PayloadInvalid as error:
            raise _numbered(error, number) from error
    if runs:
        _store(runs)
    return [run.correlation_id for run in runs]


def start_together(
    starts: Sequence[tuple[FlowPlan, bytes, Caller | None]], *, look_for_room: bool = True
) -> list[UUID | Exception]:
    """Start a run for each, all in one transaction where that is possible.

    Each has its own outcome: the correlation id, or what `start` would raise for it. A payload that
    takes long to check is PayloadNotChecked here. Without `look_for_room` a queue that is full is
    noticed at the commit, which costs more there and less elsewhere.
    """
    outcomes: list[UUID | Exception] = []
    runs: list[NewRun] = []
    for plan, payload, user in starts:
        try:
            run = _new_run(plan, payload, user, DEFAULT_PRIORITY, None, at_once=True)
        except FlowError as error:
            outcomes.append(error)
        else:
            runs.append(run)
            outcomes.append(run.correlation_id)
    faults = _store_together(runs, look_for_room) if runs else {}
    return [faults.get(each, each) if isinstance(each, UUID) else each for each in outcomes]


def _store_together(runs: list[NewRun], look_for_room: bool) -> dict[UUID, Exception]:
    """Store runs of any flows; return the errors of those that are not stored."""
    fitting = store().those_that_fit(runs) if look_for_room else runs
    left_out = {run.correlation_id for run in runs} - {run.correlation_id for run in fitting}
    faults: dict[UUID, Exception] = {id: QueueFull(retry_after=1) for id in left_out}
    try:
        if fitting:
            _store(fitting, look_for_room=False)
    except (QueueFull, DataError, IntegrityError):
        if not look_for_room:
            return _store_together(runs, look_for_room=True)
        # One of them is the cause: each for itself.
        for run in fitting:
            try:
                _store([run])
            except (FlowError, DatabaseError) as error:
                faults[run.correlation_id] = error
    return faults


def start_like(
    run: Run, payload: bytes, *, step: StepVersion, user: Caller | None = None
) -> Started:
    """Start a new run of the flow as it is now, with a payload that a step of another run got.

    It begins at the step of the same name; the new run names the one that it repeats. Raises as
    `start` does, and FlowNotRunnable where the flow or the step is gone.
    """
    if run.flow_version.flow is None:
        raise FlowNotRunnable("The flow was deleted.")
    plan = flow_plan(run.flow_version.flow.name)
    plan.require_runnable()
    at = step_plan(newest_step(step).pk)
    if not at.queue_id:
        raise FlowNotRunnable(f"The step {step.name!r} has no queue.")
    new = _new_run(plan, payload, user, DEFAULT_PRIORITY, None, at=at)
    with store().database.transaction():
        _store([new])
        changes: dict[str, Any] = {"repeats": run.pk}
        if at.position:
            # The first step alone marks a run as running, at its first delivery.
            changes |= {"status": Run.Status.RUNNING, "started_at": F("created_at")}
        Run.objects.filter(pk=new.correlation_id).update(**changes)
    return Started(new.correlation_id, plan.name)


def _plan_of(flow: str | FlowPlan) -> FlowPlan:
    """Return the plan of a named flow. Raises UnknownFlow."""
    return flow if isinstance(flow, FlowPlan) else flow_plan(flow)


def _numbered(error: PayloadInvalid, number: int) -> PayloadInvalid:
    """Return the refusal with the number of the payload at the head of its JSON paths."""
    errors = [
        fault
        | ({"path": f"$[{number}]{fault['path'].removeprefix('$')}"} if "path" in fault else {})
        for fault in error.errors
    ]
    return PayloadInvalid(f"Payload {number}: {error}", errors=errors)


def _new_run(
    plan: FlowPlan,
    payload: Payload,
    user: Caller | None,
    priority: int,
    delayed_until: datetime | None,
    at_once: bool = False,
    at: StepPlan | None = None,
) -> NewRun:
    """Return a run that begins at a step, the first if none is given, with its checked payload."""
    first = at or plan.require_runnable()
    raw = _as_text(payload)
    if first.position:
        parse_value(raw)
    else:
        plan.require_valid(parse_payload(raw), at_once)
    correlation_id = uuid7()
    return NewRun(
        correlation_id=correlation_id,
        flow_name=plan.name,
        flow_version_id=first.flow_version_id,
        step_id=first.step_id,
        queue_id=first.queue_id,
        body=wrap(correlation_id, raw),
        user_id=user.pk if user else None,
        priority=priority,
        start_at=delayed_until,
    )


def _as_text(payload: Payload) -> bytes:
    return payload if isinstance(payload, bytes) else write_payload(payload)


def _delayed_until(start_at: datetime | None) -> datetime | None:
    """Return the time until which the run waits, None for a time in the past.

    A message with a past time would go before those that have waited.

    Raises DelayTooLong.
    """
    if start_at is None:
        return None
    delay, most = start_at - store().database.now(), settings.ASYNCENGINE_MAX_DELAY_DAYS
    if delay.total_seconds() > most * SECONDS_PER_DAY:
        detail = f"may be {most} days from now at the most"
        fault = {"parameter": "startAt", "detail": detail}
        raise DelayTooLong(f"startAt: {detail}.", errors=[fault])
    return start_at if delay > timedelta(0) else None


def _store(runs: list[NewRun], look_for_room: bool = True) -> None:
    try:
        store().start(runs, look_for_room)
    except CommitInDoubt as doubt:
        # An IntegrityError means that the runs were stored.
        with _settling(doubt), suppress(IntegrityError):
            store().start(runs, look_for_room)


@contextmanager
def _settling(doubt: CommitInDoubt) -> Iterator[None]:
    """Repeat a commit that may have been made. The same ids, or the key, prevent a second run.

    If the lost transaction is still under way, this waits for its end. Raises the doubt again if
    the database is still lost.
    """
    connection.close()
    try:
        yield
    except (DatabaseError, InterfaceError, QueueFull) as error:
        raise doubt from error


def is_idempotency_key(text: str) -> bool:
    """Tell whether a text may be a key: 1 to 255 printable characters without a comma."""
    return bool(IDEMPOTENCY_KEY.fullmatch(text))


def _key_of(run: NewRun, key: str, start_at: datetime | None) -> IdempotencyKey:
    """Return the row of a caller's key, not saved yet, with the digest of the request."""
    return IdempotencyKey(
        flow_name=run.flow_name,
        caller=caller_of(run.user_id),
        key=key,
        body_digest=request_digest(run.body, run.priority, start_at),
        run_id=run.correlation_id,
    )


def _start_once(run: NewRun, key: IdempotencyKey) -> Started:
    same_key = IdempotencyKey.objects.filter(
        flow_name=key.flow_name, caller=key.caller, key=key.key
    )
    key.created_at = store().database.now()
    same_key.filter(created_at__lt=key.created_at - IDEMPOTENCY_KEY_AGE).delete()
    if known := _known_start(same_key, run, key):
        return known
    try:
        with transaction.atomic():
            store().start([run])
            key.save(force_insert=True)
    except IntegrityError:
        # Another call with the same key was faster. Its run is the answer.
        if known := _known_start(same_key, run, key):
            return known
        raise
    return Started(run.correlation_id, run.flow_name)


def _known_start(
    same_key: QuerySet[IdempotencyKey], run: NewRun, key: IdempotencyKey
) -> Started | None:
    known = same_key.first()
    if known is None:
        return None
    if not is_of_request(known.body_digest, key.body_digest, run.body):
        raise IdempotencyConflict
    return Started(known.run_id, run.flow_name, repeated=True)


# --- runs and dead letters ---------------------------------------------------------------------


def cancel(run: Run, *, user: Caller | None = None, reason: str = "") -> Run:
    """Cancel a run. Its waiting message leaves at once; a running script is stopped within 2 s.

    A failed run whose other branches go on is cancelled as well, and its dead letters are
    discarded. A run that has ended stays as it is. The audit log has the reason.
    """
    before = {"status": run.status}
    with store().database.transaction():
        if store().cancel(run.pk, user.pk if user else None):
            run.refresh_from_db()
            _make_text(run)
            after = {"status": Run.Status.CANCELLED.value}
            audit.record("cancel", run, before=before, after=after, reason=reason, user=user)
    run.refresh_from_db()
    return run


def _make_text(run: Run) -> None:
    """Add the payload that waited to the texts of the search: no step run has it."""
    if run.cancelled_input:
        text = (payload_of(run.cancelled_input) or "")[:BEGINNING]
        RunText.objects.create(run=run, text=text)


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
    discarded), QueueFull, PayloadInvalid, and FlowNotRunnable where the step or its queue no longer
    exists.
    """
    if newest_script:
        at = newest_step(dead_letter.step)
    step = at or dead_letter.step
    if not DeadLetter.objects.open().filter(pk=dead_letter.pk).exists():
        raise AlreadyReprocessed
    if step.queue_id is None:
        raise FlowNotRunnable(f"The queue {step.queue_name!r} no longer exists.")
    body = dead_letter.body
    if payload is not None:
        body = _repaired(body, payload)
    version = step.flow_version
    message = NewRun(
        dead_letter.run_id,
        version.flow_name,
        version.pk,
        step.pk,
        step.queue_id,
        body,
        branch=dead_letter.branch,
    )
    user_id, follows = user.pk if user else None, at is not None
    if audit.is_silent():
        store().requeue(dead_letter, message, user_id, follows=follows)
        return Run.objects.get(pk=dead_letter.run_id)
    with store().database.transaction():
        store().requeue(dead_letter, message, user_id, follows=follows)
        after = {"run": str(dead_letter.run_id), "script": str(step.script_version)}
        if payload is not None:
            after["payload"] = "another one"
        audit.record("reprocess", dead_letter, after=after, reason=reason, user=user)
    return Run.objects.get(pk=dead_letter.run_id)


def _repaired(body: str, payload: Payload) -> str:
    """Return the envelope with that payload. Only an object may replace an object."""
    raw = _as_text(payload)
    if takes_any_payload(body):
        parse_value(raw)
    else:
        parse_payload(raw)
    return with_payload(body, raw)


def newest_step(step: StepVersion) -> StepVersion:
    """Return the step of the same name in the flow as it is now. Raises FlowNotRunnable."""
    if flow := step.flow_version.flow:
        for newest in flow.make_version().steps.filter(name=step.name):
            return newest
    raise FlowNotRunnable(f"The flow no longer has a step {step.name!r}.")


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
