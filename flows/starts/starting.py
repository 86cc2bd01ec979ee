"""Start one run, or many of one flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import IntegrityError

from flows.errors import (
    CallbackRefused,
    CommitInDoubt,
    FlowError,
    FlowNotRunnable,
    PayloadInvalid,
    PayloadNotChecked,
)
from flows.models import IdempotencyKey
from flows.models.message import DEFAULT_PRIORITY
from flows.options import RunOptions, checked_options
from flows.plan import FlowPlan, known_flow_plan
from flows.starts.doubt import settling
from flows.starts.idempotency import key_of, known_start, start_once
from flows.starts.new_run import (
    Payload,
    deadline_at,
    delayed_until,
    new_run,
    plan_of,
    require_time_left,
)
from flows.starts.rates import within_rates
from flows.starts.started import Started
from flows.store import NewRun, StartRate, store

if TYPE_CHECKING:
    from flows.access.rights import Caller

# What a flow that was changed refuses, though it took the same before.
REFUSALS = (CallbackRefused, FlowNotRunnable, PayloadInvalid, PayloadNotChecked)
# After this number of payloads the room in the queue is checked again.
PAYLOADS_READ_AHEAD = 100


def start(
    flow: str | FlowPlan,
    payload: Payload,
    *,
    user: Caller | None = None,
    idempotency_key: str | None = None,
    priority: int = DEFAULT_PRIORITY,
    start_at: datetime | None = None,
    labels: Mapping[str, str] | None = None,
    deadline: datetime | timedelta | None = None,
    callback_url: str | None = None,
    rates: tuple[StartRate, ...] = (),
) -> Started:
    """Start a run. It is stored when this returns, or with the transaction around it.

    Waiting messages of a higher priority go first, 0 to 9. Before `start_at` the run waits; it is
    cancelled if it has not ended by the deadline, a time or a duration from now. The address of the
    callback is told its end. An idempotency key belongs to the user and the flow; a repeat gives
    its run whatever the flow takes by now. The start counts in `rates`; a repeat does not.

    The flow is given by its name, or by its plan if the caller has just looked it up. Bytes are
    taken as JSON text and travel unchanged, with the digits of their numbers.
    Raises UnknownFlow, FlowNotRunnable, PayloadInvalid, OptionInvalid, QueueFull,
    StartRateExceeded, IdempotencyConflict, and CommitInDoubt if the database was lost and the run
    may be stored.
    """
    options = checked_options(priority, start_at, idempotency_key, labels, deadline, callback_url)
    is_plain = options == RunOptions(options.priority) and idempotency_key is None and not rates
    if isinstance(flow, str) and is_plain:
        started = _started_as_known(flow, payload, user, options.priority)
        if started is not None:
            return started
    plan = plan_of(flow)
    try:
        run = new_run(
            plan,
            payload,
            user,
            options.priority,
            delayed_until(start_at),
            labels=options.labels,
            deadline=deadline_at(deadline),
            callback_url=options.callback_url,
            rates=rates,
        )
    except REFUSALS as refusal:
        if idempotency_key is None:
            raise
        known = known_start(plan, payload, user and user.pk, idempotency_key, options)
        if known is None:
            raise refusal
        return known
    key = None if idempotency_key is None else key_of(run, idempotency_key, options)
    return start_run(run, key)


def _started_as_known(
    flow: str, payload: Payload, user: Caller | None, priority: int
) -> Started | None:
    """Start a run by the plan that is known, if the configuration has not changed since."""
    known = known_flow_plan(flow) if store().starts_in_one_statement() else None
    if known is None:
        return None
    revision, plan = known
    try:
        run = new_run(plan, payload, user, priority, None)
    except FlowError:
        # It may be that plan which is at fault.
        return None
    try:
        if not store().start_under(revision, run):
            return None
    except CommitInDoubt as doubt:
        _settle(doubt, [run])
    return Started(run.correlation_id, run.flow_name)


def start_run(
    run: NewRun, key: IdempotencyKey | None, store_new: Callable[[], None] | None = None
) -> Started:
    """Start a run; with a key `store_new` may store it, see `start_once`."""
    if key is None:
        require_time_left(run)
        _store([run])
        return Started(run.correlation_id, run.flow_name)
    try:
        return start_once(run, key, store_new)
    except CommitInDoubt as doubt:
        with settling(doubt):
            known = start_once(run, key, store_new)
        # What the lost commit has stored is no repeat of another call.
        return replace(known, repeated=known.correlation_id != run.correlation_id)


def start_many(
    flow: str | FlowPlan,
    payloads: Iterable[Payload],
    *,
    user: Caller | None = None,
    priority: int = DEFAULT_PRIORITY,
    start_at: datetime | None = None,
    labels: Mapping[str, str] | None = None,
    deadline: datetime | timedelta | None = None,
    callback_url: str | None = None,
    rates: tuple[StartRate, ...] = (),
) -> list[UUID]:
    """Start a run for each payload, all in one transaction or none. Raises as `start` does.

    PayloadInvalid names the payload: `$[3].amount` is in the fourth. Payloads are read while the
    queue has room for them, so an endless iterable ends with QueueFull.
    """
    options = checked_options(priority, start_at, None, labels, deadline, callback_url)
    runs: list[NewRun] = []
    for run in new_runs(plan_of(flow), payloads, user, options, rates):
        if runs and len(runs) % PAYLOADS_READ_AHEAD == 0:
            ready, delayed = (0, len(runs)) if run.start_at else (len(runs), 0)
            store().refuse_if_full(run.queue_id, ready, delayed)
        runs.append(run)
    if runs:
        require_time_left(runs[0])
        _store(runs)
    return [run.correlation_id for run in runs]


def new_runs(
    plan: FlowPlan,
    payloads: Iterable[Payload],
    user: Caller | None,
    options: RunOptions,
    rates: tuple[StartRate, ...] = (),
) -> Iterator[NewRun]:
    """Yield a run for each payload. Raises as `start_many` does."""
    not_before, not_after = delayed_until(options.start_at), deadline_at(options.deadline)
    for number, payload in enumerate(payloads):
        try:
            yield new_run(
                plan,
                payload,
                user,
                options.priority,
                not_before,
                labels=options.labels,
                deadline=not_after,
                callback_url=options.callback_url,
                rates=rates,
            )
        except PayloadInvalid as error:
            raise _numbered(error, number) from error


def _numbered(error: PayloadInvalid, number: int) -> PayloadInvalid:
    """Return the refusal with the number of the payload at the head of its JSON paths."""
    errors = [
        fault
        | ({"path": f"$[{number}]{fault['path'].removeprefix('$')}"} if "path" in fault else {})
        for fault in error.errors
    ]
    return PayloadInvalid(f"Payload {number}: {error}", errors=errors)


def _store(runs: list[NewRun]) -> None:
    try:
        with within_rates(runs):
            store().start(runs)
    except CommitInDoubt as doubt:
        _settle(doubt, runs)


def _settle(doubt: CommitInDoubt, runs: list[NewRun]) -> None:
    # An IntegrityError means that the runs were stored.
    with settling(doubt), suppress(IntegrityError), within_rates(runs):
        store().start(runs)
