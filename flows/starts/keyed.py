"""Start many runs of one flow, each with an idempotency key of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import IntegrityError
from django.db.models import QuerySet

from flows.errors import CommitInDoubt, IdempotencyConflict, StartRateExceeded
from flows.message.digest import is_of_request
from flows.models import IdempotencyKey
from flows.models.message import DEFAULT_PRIORITY
from flows.options import IDEMPOTENCY_KEY_AGE, checked_options
from flows.plan import FlowPlan, keys_of
from flows.starts.conflict import Asked, conflicts
from flows.starts.doubt import settling
from flows.starts.idempotency import key_of
from flows.starts.new_run import require_time_left
from flows.starts.rates import within_rates
from flows.starts.started import Started
from flows.starts.starting import new_runs
from flows.store import NewRun, StartRate, store

if TYPE_CHECKING:
    from flows.access.rights import Caller

# How often others may be faster with one of the keys, before the error is the caller's.
TRIES = 5

Outcome = Started | IdempotencyConflict


def start_keyed(
    plan: FlowPlan,
    keyed: Sequence[tuple[str, bytes]],
    *,
    user: Caller | None = None,
    priority: int = DEFAULT_PRIORITY,
    start_at: datetime | None = None,
    labels: Mapping[str, str] | None = None,
    deadline: datetime | timedelta | None = None,
    callback_url: str | None = None,
    rates: tuple[StartRate, ...] = (),
) -> list[Outcome]:
    """Start a run for each key and payload, all that are new in one transaction or none.

    What was started before with the same request needs no room, and is told as a repeat. Another
    request with a key is a conflict, which keeps no other from starting. Raises as `start_many`.
    """
    if not keyed:
        return []
    options = checked_options(priority, start_at, None, labels, deadline, callback_url)
    runs = list(new_runs(plan, [payload for _, payload in keyed], user, options, rates))
    keys = [key_of(run, key, options) for run, (key, _) in zip(runs, keyed, strict=True)]
    try:
        return _start_each(runs, keys)
    except CommitInDoubt as doubt:
        # What was stored is found by its keys.
        with settling(doubt):
            return _start_each(runs, keys)


def _start_each(runs: list[NewRun], keys: list[IdempotencyKey]) -> list[Outcome]:
    for _ in range(TRIES - 1):
        try:
            return _try_to_start(runs, keys)
        except IntegrityError:
            # Another call has started one of them meanwhile.
            continue
    return _try_to_start(runs, keys)


def _try_to_start(runs: list[NewRun], keys: list[IdempotencyKey]) -> list[Outcome]:
    now = store().database.now()
    same = _of_the_same_names(runs[0], keys)
    counting = same.filter(created_at__gte=now - IDEMPOTENCY_KEY_AGE)
    known = {key.key: key for key in counting}
    outcomes: list[Outcome] = []
    others: dict[int, tuple[IdempotencyKey, Asked]] = {}
    new: list[tuple[NewRun, IdempotencyKey]] = []
    for run, key in zip(runs, keys, strict=True):
        first = known.setdefault(key.key, key)
        if first is key:
            new.append((run, key))
            outcomes.append(Started(run.correlation_id, run.flow_name))
        elif is_of_request(first.body_digest, key.body_digest, run.body):
            outcomes.append(Started(first.run_id, run.flow_name, repeated=True))
        else:
            others[len(outcomes)] = first, key.asked
            outcomes.append(IdempotencyConflict())
    if others:
        for number, error in zip(others, conflicts([*others.values()]), strict=True):
            outcomes[number] = error
    if new:
        fresh = [run for run, _ in new]
        try:
            _store(fresh, [key for _, key in new], now)
        except StartRateExceeded as error:
            # Repeats before it need no rate.
            error.allowed = runs.index(fresh[error.allowed])
            raise
    return outcomes


def _store(runs: list[NewRun], keys: list[IdempotencyKey], now: datetime) -> None:
    require_time_left(runs[0])
    for key in keys:
        key.created_at = now
    with within_rates(runs), store().database.transaction():
        same = _of_the_same_names(runs[0], keys)
        same.filter(created_at__lt=now - IDEMPOTENCY_KEY_AGE).delete()
        store().start(runs)
        IdempotencyKey.objects.bulk_create(keys)


def _of_the_same_names(run: NewRun, keys: Sequence[IdempotencyKey]) -> QuerySet[IdempotencyKey]:
    """Return the stored keys of these names, which are all of one caller and the run's flow."""
    of_flow = keys_of(run.flow_name, run.flow_version_id)
    names = [key.key for key in keys]
    return IdempotencyKey.objects.filter(of_flow, caller=keys[0].caller, key__in=names)
