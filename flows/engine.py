"""The verbs that callers use. API, admin and commands call these and nothing below."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from django.db import IntegrityError, transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from flows.envelope import dump_payload, parse_payload, wrap
from flows.errors import AlreadyReprocessed, FlowNotRunnable, IdempotencyConflict
from flows.models import DeadLetter, IdempotencyKey, Run
from flows.plan import FlowPlan, flow_plan
from flows.store import NewRun, store

if TYPE_CHECKING:
    from django.contrib.auth.models import User

IDEMPOTENCY_KEY_AGE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Started:
    """What a start answers; `repeated` where an idempotency key named a run that exists."""

    correlation_id: UUID
    flow_name: str
    repeated: bool = False


def start(
    flow: str | FlowPlan,
    payload: dict[str, Any] | bytes,
    *,
    user: User | None = None,
    idempotency_key: str | None = None,
) -> Started:
    """Start a run. It is stored when this returns, or with the transaction around it.

    The flow is given by its name, or by its plan where the caller has just looked it up. Bytes are
    taken as JSON text and travel as they are, numbers of any length included.
    Raises UnknownFlow, FlowNotRunnable, PayloadInvalid, QueueFull, IdempotencyConflict.
    """
    plan = flow if isinstance(flow, FlowPlan) else flow_plan(flow)
    run = _new_run(plan, payload, user)
    if idempotency_key is not None:
        return _start_once(plan, run, idempotency_key)
    store().start([run])
    return Started(run.correlation_id, plan.name)


def start_many(
    flow_name: str, payloads: Iterable[dict[str, Any] | bytes], *, user: User | None = None
) -> list[UUID]:
    """Start a run for each payload, all in one transaction or none. Raises as `start` does."""
    plan = flow_plan(flow_name)
    runs = [_new_run(plan, payload, user) for payload in payloads]
    if runs:
        store().start(runs)
    return [run.correlation_id for run in runs]


def _new_run(plan: FlowPlan, payload: dict[str, Any] | bytes, user: User | None) -> NewRun:
    first = plan.require_runnable()
    raw = payload if isinstance(payload, bytes) else dump_payload(payload)
    plan.require_valid(parse_payload(raw))
    correlation_id = uuid7()
    return NewRun(
        correlation_id=correlation_id,
        flow_version_id=plan.flow_version_id,
        step_id=first.step_id,
        queue_id=first.queue_id,
        body=wrap(correlation_id, raw),
        user_id=user.pk if user else None,
    )


def _start_once(plan: FlowPlan, run: NewRun, key: str) -> Started:
    digest = payload_digest(run.body)
    IdempotencyKey.objects.filter(
        flow_name=plan.name, key=key, created_at__lt=timezone.now() - IDEMPOTENCY_KEY_AGE
    ).delete()
    if known := _known_start(plan, key, digest):
        return known
    try:
        with transaction.atomic():
            store().start([run])
            IdempotencyKey.objects.create(
                flow_name=plan.name,
                key=key,
                body_digest=digest,
                run_id=run.correlation_id,
                created_at=timezone.now(),
            )
    except IntegrityError:
        # Another call with the same key was faster: its run is the answer.
        if known := _known_start(plan, key, digest):
            return known
        raise
    return Started(run.correlation_id, plan.name)


def payload_digest(body: str) -> str:
    """Return what is the same for the same payload, however it was written."""
    payload = orjson.loads(body)["payload"]
    return hashlib.sha256(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _known_start(plan: FlowPlan, key: str, digest: str) -> Started | None:
    known = IdempotencyKey.objects.filter(flow_name=plan.name, key=key).first()
    if known is None:
        return None
    if known.body_digest != digest:
        raise IdempotencyConflict
    return Started(known.run_id, plan.name, repeated=True)


def reprocess(
    dead_letter: DeadLetter, *, user: User | None = None, payload: dict[str, Any] | None = None
) -> Run:
    """Put a dead letter back at the step where it failed, with a new payload if one is given.

    Earlier steps are not run again. Raises AlreadyReprocessed, QueueFull, PayloadInvalid, and
    FlowNotRunnable where the step's queue no longer exists.
    """
    if dead_letter.step.queue_id is None:
        raise FlowNotRunnable(f"The queue {dead_letter.step.queue_name!r} no longer exists.")
    body = dead_letter.body
    if payload is not None:
        body = wrap(dead_letter.run_id, dump_payload(payload))
    with transaction.atomic():
        taken = DeadLetter.objects.filter(pk=dead_letter.pk, reprocessed_at=None).update(
            reprocessed_at=timezone.now(), reprocessed_by=user
        )
        if not taken:
            raise AlreadyReprocessed
        store().put_back(dead_letter.run_id, dead_letter.step_id, dead_letter.step.queue_id, body)
    return Run.objects.get(pk=dead_letter.run_id)
