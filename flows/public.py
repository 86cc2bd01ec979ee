"""What a Django project may import of the engine. Everything else is private and may change.

    from flows import public

    run = public.start("loan-application", {"amount": 5000}, user=request.user)
    public.result(run, wait=10)

Runs, dead letters, flows and queues are named by their ids and names, not by instances. Each call
does one thing and is committed with the transaction around it, or by itself where there is none.

A payload is a mapping of what JSON has (text, numbers, bool, None, mappings, lists and tuples) and
of what Django's own JSON encoder knows: datetime, date and time as ISO 8601, to the millisecond,
timedelta as an ISO 8601 duration, UUID as text, Decimal as text with all its digits. Lazy texts,
members of str and int enumerations, subclasses of these types and lazy objects stand for what they
are. Keys are texts, or numbers, bool and None as JSON writes them; two that would be the same are
refused. So are, with their place: NaN and Infinity, as Decimal, too, numbers beyond a double,
other types, a container within itself, more than 200 levels, and a value with code that raises.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, Unpack
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.transaction import TransactionManagementError

from flows import engine
from flows.engine import Payload
from flows.errors import (
    AlreadyReprocessed,
    CommitInDoubt,
    FlowError,
    FlowNotRunnable,
    IdempotencyConflict,
    NotFound,
    PayloadErased,
    PayloadInvalid,
    PayloadNotChecked,
    QueueFull,
    RunFailed,
    RunNotFinished,
    UnknownFlow,
)
from flows.models import DeadLetter, Flow, Queue, Run
from flows.models.message import DEFAULT_PRIORITY
from flows.monitoring import trace
from flows.monitoring.pace import telling_when
from flows.options import (
    OptionInvalid,
    StartOptions,
    can_be_a_name,
    known_reason,
    known_user,
)
from flows.signals import dead_letter_made, run_finished
from flows.starts.refusals import counting_refusals
from scripts.callables import Context, Message, Reject, Retry, Wait

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

__all__ = [
    "AlreadyReprocessed",
    "CommitInDoubt",
    "Context",
    "FlowError",
    "FlowNotRunnable",
    "IdempotencyConflict",
    "Message",
    "NotFound",
    "Payload",
    "PayloadErased",
    "PayloadInvalid",
    "PayloadNotChecked",
    "QueueFull",
    "Reject",
    "Retry",
    "RunFailed",
    "RunNotFinished",
    "UnknownFlow",
    "Wait",
    "astart",
    "cancel",
    "dead_letter_made",
    "discard",
    "pause",
    "reprocess",
    "result",
    "resume",
    "run_finished",
    "start",
    "start_many",
    "status",
]

Found = TypeVar("Found", Flow, Queue)


def __dir__() -> list[str]:
    """List the public names alone, not the names that this module imports."""
    return __all__


def start(
    flow: str,
    payload: Payload,
    *,
    user: AbstractBaseUser | None = None,
    idempotency_key: str | None = None,
    priority: int = DEFAULT_PRIORITY,
    start_at: datetime | None = None,
    labels: Mapping[str, str] | None = None,
    deadline: datetime | timedelta | None = None,
    callback_url: str | None = None,
) -> UUID:
    """Start a run and return its correlation id.

    The run is stored when this returns, or with the transaction around it. The payload is a JSON
    object: a mapping as the docstring of this module has it, or bytes of JSON, which travel digit
    for digit. Of the messages that wait in a queue those of a higher priority go first, 0 to 9;
    before `start_at`, which has a time zone, the run waits. A run that has not ended by its
    deadline, a time with a zone or a duration from now, is cancelled. Labels, up to 16 pairs of
    texts, are kept with the run, which is found by them. `callback_url` is told the end of the run
    by a signed POST. The same idempotency key of the same user and flow gives the same run for a
    day.

    Raises UnknownFlow; FlowNotRunnable where it is inactive or has no steps; PayloadInvalid, with
    the places in `errors`; PayloadNotChecked where checking it has to wait and QueueFull, both with
    `retry_after` seconds; IdempotencyConflict where the key was used for another request;
    ValueError for a key, a label, a priority, a time or an address that cannot be; and
    CommitInDoubt where the database was lost and does not say whether the run is stored.
    """
    with counting_refusals(flow), telling_when():
        started = engine.start(
            flow,
            payload,
            user=known_user(user),
            idempotency_key=idempotency_key,
            priority=priority,
            start_at=start_at,
            labels=labels,
            deadline=deadline,
            callback_url=callback_url,
        )
    return started.correlation_id


async def astart(flow: str, payload: Payload, **options: Unpack[StartOptions]) -> UUID:
    """Do as `start` from asynchronous code: in a thread, and in a transaction of its own.

    Under `async_to_sync` that thread is the one that called it, as for all of Django's asynchronous
    functions, and the run is stored with its transaction. Raises as `start` does, and
    TransactionManagementError where the event loop runs within a transaction of its own thread (by
    `asyncio.run` in a view under ATOMIC_REQUESTS): the start would be on another connection,
    outside of that transaction, and on SQLite it would wait in vain for the transaction's lock.
    """
    if _is_within_a_transaction_of_its_thread():
        raise TransactionManagementError(
            "An event loop within a transaction cannot start runs in it: call `start`, or run your"
            " coroutine with async_to_sync."
        )
    return await sync_to_async(start)(flow, payload, **options)


def _is_within_a_transaction_of_its_thread() -> bool:
    """Tell whether the thread of the event loop has opened a transaction before the loop began.

    Django keeps connections in a Local that hides those of the thread from what runs in its loop.
    Where a later asgiref has no such storage, the start waits for the lock as any other would.
    """
    storage = getattr(connections._connections, "_storage", None)  # type: ignore[attr-defined]
    found = getattr(storage, DEFAULT_DB_ALIAS, None)
    return found is not None and found.in_atomic_block


def start_many(
    flow: str,
    payloads: Iterable[Payload],
    *,
    user: AbstractBaseUser | None = None,
    priority: int = DEFAULT_PRIORITY,
    start_at: datetime | None = None,
    labels: Mapping[str, str] | None = None,
    deadline: datetime | timedelta | None = None,
    callback_url: str | None = None,
) -> list[UUID]:
    """Start a run for each payload, all of them or none, and return their ids in order.

    The payloads are read before any run is stored, at most some 100 more than the queue has room
    for: with those of a longer iterable, or of one without an end, none is started. Raises as
    `start` does; the message of PayloadInvalid names the payload by its number.
    """
    with counting_refusals(flow), telling_when():
        return engine.start_many(
            flow,
            payloads,
            user=known_user(user),
            priority=priority,
            start_at=start_at,
            labels=labels,
            deadline=deadline,
            callback_url=callback_url,
        )


def status(run: UUID | str) -> str:
    """Return QUEUED, RUNNING, COMPLETED, FAILED or CANCELLED. Raises NotFound."""
    return _run(run).status


def result(run: UUID | str, wait: float = 0.0) -> Any:
    """Return the result of a completed run, after waiting for its end for at most `wait` seconds.

    Raises RunFailed where it failed or was cancelled, with its `status` and `error`; RunNotFinished
    where it goes on; PayloadErased; NotFound; ValueError for a time that cannot be; and
    TransactionManagementError where it would wait within a transaction: workers do not see the
    starts of an open transaction, and on SQLite cannot write until it ends.
    """
    deadline = time.monotonic() + _seconds(wait)
    found = _run(run)
    if wait > 0 and found.status not in Run.FINISHED:
        if connection.in_atomic_block:
            raise TransactionManagementError("Wait for a run outside of a transaction.")
        trace.wait_until_finished(found.pk, max(deadline - time.monotonic(), 0.0))
        found.refresh_from_db()
    if found.status == Run.Status.COMPLETED and found.erased_at:
        raise PayloadErased
    if found.status == Run.Status.COMPLETED:
        # Not by orjson, which makes a float of an integer beyond 64 bits.
        return json.loads(found.result or "null")
    if found.status in Run.FINISHED:
        message = f"The run {found.pk} is {found.status}: {found.error or 'no error'}"
        raise RunFailed(message, status=found.status, error=found.error)
    raise RunNotFinished(f"The run {found.pk} is {found.status}.")


def cancel(run: UUID | str, *, user: AbstractBaseUser | None = None, reason: str = "") -> str:
    """Cancel a run and return its status; one that has ended stays as it is. Raises NotFound.

    The audit log has the user and the reason, a text of at most 500 characters.
    Within a transaction the run and the counters of its queues are locked until the commit, since
    it has to be exact at once what was cancelled: workers of those queues wait. On PostgreSQL two
    transactions that lock in opposite orders (two runs, or a run and a change of the configuration)
    cannot both go on. PostgreSQL ends one after a second with an OperationalError and takes it back
    whole; repeat it. It does not happen to transactions that decide about one run and change no
    configuration, nor to those that decide about runs of queues in one order, nor in `on_commit`.
    """
    reason = known_reason(reason)
    return engine.cancel(_run(run), user=known_user(user), reason=reason).status


def reprocess(
    dead_letter: int,
    *,
    user: AbstractBaseUser | None = None,
    payload: Payload | None = None,
    newest_script: bool = False,
    reason: str = "",
) -> UUID:
    """Requeue a dead letter at the step where it failed, and return its run's id.

    With a payload in place of its own, if one is given; with `newest_script` at the flow as it is
    now. Locks as `cancel` does. Raises NotFound, AlreadyReprocessed, QueueFull, PayloadInvalid and
    FlowNotRunnable.
    """
    letter = _dead_letter(dead_letter)
    with telling_when():
        return engine.reprocess(
            letter,
            user=known_user(user),
            payload=payload,
            newest_script=newest_script,
            reason=known_reason(reason),
        ).pk


def discard(dead_letter: int, *, user: AbstractBaseUser | None = None, reason: str = "") -> None:
    """Discard a dead letter; its run stays failed. Locks as `cancel` does.

    Raises NotFound and AlreadyReprocessed.
    """
    reason = known_reason(reason)
    engine.discard(_dead_letter(dead_letter), user=known_user(user), reason=reason)


def pause(
    *,
    flow: str | None = None,
    queue: str | None = None,
    user: AbstractBaseUser | None = None,
    reason: str = "",
) -> None:
    """Pause a queue, or all queues of a flow: messages wait, and running scripts go on.

    The reason is shown while it is paused, and stays in the audit log.
    Raises UnknownFlow and NotFound, and TypeError unless one of them is named.
    """
    reason = known_reason(reason)
    engine.pause(_target(flow, queue), user=known_user(user), reason=reason)


def resume(
    *,
    flow: str | None = None,
    queue: str | None = None,
    user: AbstractBaseUser | None = None,
    reason: str = "",
) -> None:
    """End a pause. Raises as `pause` does."""
    reason = known_reason(reason)
    engine.resume(_target(flow, queue), user=known_user(user), reason=reason)


def _run(run: UUID | str) -> Run:
    try:
        runs = Run.objects.select_related("flow_version").defer(*Run.PAYLOADS)
        return runs.get(pk=UUID(str(run)))
    except (ValueError, Run.DoesNotExist) as error:
        raise NotFound(f"There is no run {run}.") from error


def _seconds(wait: Any) -> float:
    if isinstance(wait, bool) or not isinstance(wait, int | float) or wait != wait:
        raise OptionInvalid(f"wait must be a number of seconds, not {wait!r}.")
    return float(wait)


def _dead_letter(pk: int) -> DeadLetter:
    letters = DeadLetter.objects.unread().select_related("step", "run__flow_version")
    try:
        # The ORM takes True and 1.5 for 1.
        if isinstance(pk, bool) or not isinstance(pk, int | str):
            raise TypeError
        return letters.get(pk=pk)
    except (ValueError, TypeError, DeadLetter.DoesNotExist) as error:
        raise NotFound(f"There is no dead letter {pk}.") from error


def _target(flow: str | None, queue: str | None) -> Flow | Queue:
    if (flow is None) == (queue is None):
        raise TypeError("Name either a flow or a queue.")
    if flow is not None:
        return _named(Flow, flow, UnknownFlow(f"There is no flow {flow!r}."))
    assert queue is not None
    return _named(Queue, queue, NotFound(f"There is no queue {queue!r}."))


def _named(model: type[Found], name: str, missing: NotFound) -> Found:
    if can_be_a_name(name) and (found := model._default_manager.filter(name=name).first()):
        return found
    raise missing
