"""Start runs together that are wanted at the same time: each has its own outcome."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import DataError, IntegrityError

from flows.errors import CommitInDoubt, QueueFull
from flows.models import IdempotencyKey
from flows.models.message import DEFAULT_PRIORITY
from flows.plan import FlowPlan, keys_of
from flows.starts.doubt import settling
from flows.starts.idempotency import key_of, start_once
from flows.starts.new_run import new_run
from flows.starts.rates import admitting, within_rates
from flows.starts.started import Started
from flows.starts.starting import start_run
from flows.store import NewRun, Seen, StartRate, store
from flows.store.troubles import Trouble, trouble_of

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from flows.access.rights import Caller


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A start that may be stored together with others. The payload is JSON text."""

    plan: FlowPlan
    payload: bytes
    user: Caller | None
    idempotency_key: str | None = None
    rates: tuple[StartRate, ...] = ()
    called_by: SpanContext | None = None
    # Its outcome is QueueFull where the queue is full, and None, with nothing stored, elsewhere.
    only_refused: bool = False


def start_together(
    starts: Sequence[StartRequest], *, look_for_room: bool = True
) -> list[Started | Exception | None]:
    """Start a run for each, all in one transaction where that is possible.

    Each has its own outcome: what `start` returns, or what it would raise. A payload that takes
    long to check is PayloadNotChecked here. Without `look_for_room` a queue that is full is noticed
    at the commit, which costs more there and less elsewhere.
    """
    outcomes: list[Started | Exception | None] = []
    runs: list[NewRun] = []
    only_refused: list[NewRun] = []
    keys: dict[UUID, IdempotencyKey] = {}
    for each in starts:
        try:
            run = _new_run(each)
        except Exception as error:
            # A surprise, too, is of this one alone: nothing is stored yet.
            outcomes.append(error)
            continue
        (only_refused if each.only_refused else runs).append(run)
        outcomes.append(Started(run.correlation_id, run.flow_name))
        if each.idempotency_key is not None:
            keys[run.correlation_id] = key_of(run, each.idempotency_key)
    others: dict[UUID, Started | Exception | None] = dict(_without_room(only_refused))
    if runs:
        others |= _store_together(runs, keys, look_for_room)
    return [
        others.get(each.correlation_id, each) if isinstance(each, Started) else each
        for each in outcomes
    ]


def start_as_seen(starts: Sequence[StartRequest], seen: Seen) -> list[Started | Exception] | None:
    """Start a run for each as `start_together` does, if a row is as it was seen.

    The row is not read before. None, with nothing stored: it has changed, or a start is refused or
    cannot be stored in one statement.
    """
    try:
        runs = [_new_run(each) for each in starts]
    except Exception:
        # What refuses it may have changed.
        return None
    others: dict[UUID, Started | Exception] = {}
    try:
        if not store().start_as_seen(seen, runs):
            return None
    except (QueueFull, DataError, IntegrityError):
        return None
    except CommitInDoubt as doubt:
        others = _settled_as_seen(runs, seen, doubt)
    return [
        others.get(run.correlation_id) or Started(run.correlation_id, run.flow_name) for run in runs
    ]


def _settled_as_seen(
    runs: list[NewRun], seen: Seen, doubt: CommitInDoubt
) -> dict[UUID, Started | Exception]:
    """Return what became of runs whose commit is in doubt, see `_settled`.

    Where the row has changed by now, they stay in doubt: they are not stored again.
    """
    try:
        with settling(doubt):
            is_as_seen = store().database.is_as_seen(seen)
    except CommitInDoubt:
        is_as_seen = False
    if not is_as_seen:
        return {run.correlation_id: doubt for run in runs}
    return _settled_each(runs, {}, doubt)


def _new_run(start: StartRequest) -> NewRun:
    return new_run(
        start.plan,
        start.payload,
        start.user,
        DEFAULT_PRIORITY,
        None,
        at_once=True,
        rates=start.rates,
        called_by=start.called_by,
    )


def _without_room(runs: list[NewRun]) -> dict[UUID, QueueFull | None]:
    """Return what refuses these runs; None where their queue has room for one. It stores none."""
    if not runs:
        return {}
    first_of = {run.queue_id: run for run in runs}
    fitting = {run.queue_id for run in store().those_that_fit(list(first_of.values()))}
    return {
        run.correlation_id: None if run.queue_id in fitting else QueueFull(queue_id=run.queue_id)
        for run in runs
    }


def _store_together(
    runs: list[NewRun], keys: dict[UUID, IdempotencyKey], look_for_room: bool
) -> dict[UUID, Started | Exception]:
    """Store runs of any flows; return the outcomes of those that are not stored as they are."""
    used = _used_keys(runs, keys)
    new = [run for run in runs if run.correlation_id not in used]
    fitting = store().those_that_fit(new) if look_for_room and new else new
    fits = {run.correlation_id for run in fitting}
    others: dict[UUID, Started | Exception] = {
        run.correlation_id: QueueFull(queue_id=run.queue_id)
        for run in new
        if run.correlation_id not in fits
    }
    apart = [run for run in runs if run.correlation_id in used]
    try:
        with admitting(fitting) as refused:
            _insert([run for run in fitting if run.correlation_id not in refused], keys)
        others |= refused
    except CommitInDoubt as doubt:
        others |= _settled_each(fitting, keys, doubt)
    except (QueueFull, DataError, IntegrityError):
        if not look_for_room:
            return _store_together(runs, keys, look_for_room=True)
        # One of them is the cause.
        apart += fitting
    return others | {run.correlation_id: _outcome_of(run, keys) for run in apart}


def _used_keys(runs: list[NewRun], keys: dict[UUID, IdempotencyKey]) -> set[UUID]:
    """Return the runs whose keys are stored, also those that have expired, or stand twice here."""
    by_name = {(key.flow_name, key.caller, key.key): id for id, key in reversed(keys.items())}
    used = set(keys) - set(by_name.values())
    by_caller: dict[tuple[str, str], list[str]] = defaultdict(list)
    for flow_name, caller, key in by_name:
        by_caller[flow_name, caller].append(key)
    versions = {run.flow_name: run.flow_version_id for run in runs}
    for (flow_name, caller), names in by_caller.items():
        of_flow = keys_of(flow_name, versions[flow_name])
        same = IdempotencyKey.objects.filter(of_flow, caller=caller, key__in=names)
        used |= {by_name[flow_name, caller, key] for key in same.values_list("key", flat=True)}
    return used


def _insert(runs: list[NewRun], keys: dict[UUID, IdempotencyKey]) -> None:
    """Store runs with their keys, all of them or none."""
    rows = [keys[run.correlation_id] for run in runs if run.correlation_id in keys]
    if not rows:
        if runs:
            store().start(runs, look_for_room=False)
        return
    now = store().database.now()
    for row in rows:
        row.created_at = now
    with store().database.transaction():
        store().start(runs, look_for_room=False)
        IdempotencyKey.objects.bulk_create(rows)


def _outcome_of(run: NewRun, keys: dict[UUID, IdempotencyKey]) -> Started | Exception:
    try:
        return start_run(run, keys.get(run.correlation_id))
    except Exception as error:
        # A surprise, too, is of this one alone: others are stored by now.
        return error


def _settled_each(
    runs: list[NewRun], keys: dict[UUID, IdempotencyKey], doubt: CommitInDoubt
) -> dict[UUID, Started | Exception]:
    """Return what became of runs whose commit is in doubt, see `_settled`.

    Where one finds the database lost, the others do not wait for it once more each.
    """
    outcomes: dict[UUID, Started | Exception] = {}
    for run in runs:
        outcomes[run.correlation_id] = outcome = _settled(run, keys, doubt)
        cause = outcome.__cause__ if isinstance(outcome, CommitInDoubt) else None
        if cause and trouble_of(cause) is Trouble.AWAY:
            break
    return {run.correlation_id: doubt for run in runs} | outcomes


def _settled(
    run: NewRun, keys: dict[UUID, IdempotencyKey], doubt: CommitInDoubt
) -> Started | Exception:
    """Return what became of a run whose commit is in doubt; it is stored now if it was not."""
    try:
        with settling(doubt):
            if key := keys.get(run.correlation_id):
                known = start_once(run, key)
                return replace(known, repeated=known.correlation_id != run.correlation_id)
            # An IntegrityError means that the run was stored.
            with suppress(IntegrityError), within_rates([run]):
                store().start([run])
            return Started(run.correlation_id, run.flow_name)
    except Exception as error:
        return error
