"""Idempotency keys: the same key of a caller for a flow gives the same run, for a day."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.db import IntegrityError
from django.db.models import QuerySet

from flows.errors import PayloadInvalid
from flows.message.digest import is_of_request
from flows.message.envelope import wrap
from flows.models import IdempotencyKey, Run
from flows.models.message import DEFAULT_PRIORITY
from flows.models.users import caller_of
from flows.options import IDEMPOTENCY_KEY_AGE, RunOptions
from flows.plan import FlowPlan, keys_of
from flows.starts.conflict import Asked, conflict
from flows.starts.new_run import Payload, as_text, require_time_left
from flows.starts.rates import within_rates
from flows.starts.started import Started
from flows.store import NewRun, store

# No comma: WSGI joins the values of a header that was sent twice with one.
IDEMPOTENCY_KEY = re.compile(r"[\x20-\x2b\x2d-\x7e]{1,255}")


def is_idempotency_key(text: str) -> bool:
    """Tell whether a text may be a key: 1 to 255 printable characters without a comma."""
    return bool(IDEMPOTENCY_KEY.fullmatch(text))


def key_of(
    run: NewRun,
    key: str,
    options: RunOptions | None = None,
    repeats: tuple[str, str | None] | None = None,
) -> IdempotencyKey:
    """Return the row of a caller's key, not saved yet, with the digest of the request.

    `repeats`: the run that this one repeats, and the step where it begins if it was given.
    """
    asked = Asked(run.body, options or RunOptions(run.priority), repeats)
    row = IdempotencyKey(
        flow_name=run.flow_name,
        caller=caller_of(run.user_id),
        key=key,
        body_digest=asked.digest(),
        run_id=run.correlation_id,
    )
    row.asked = asked
    return row


def start_once(
    run: NewRun, key: IdempotencyKey, store_new: Callable[[], None] | None = None
) -> Started:
    """Store the run and its key in one transaction, or find the run that the key has.

    `store_new` stores the run where more belongs into that transaction.
    """
    same_key = IdempotencyKey.objects.filter(
        keys_of(run.flow_name, run.flow_version_id), caller=key.caller, key=key.key
    )
    key.created_at = store().database.now()
    same_key.filter(created_at__lt=key.created_at - IDEMPOTENCY_KEY_AGE).delete()
    if known := _stored_start(same_key, run, key):
        return known
    require_time_left(run)
    try:
        with within_rates([run]), store().database.transaction():
            store_new() if store_new else store().start([run])
            key.save(force_insert=True)
    except IntegrityError:
        # Another call with the same key was faster. Its run is the answer.
        if known := _stored_start(same_key, run, key):
            return known
        raise
    return Started(run.correlation_id, run.flow_name)


def known_start(
    plan: FlowPlan, payload: Payload, user_id: Any, key: str, options: RunOptions
) -> Started | None:
    """Find the run that a caller's key has from the same request to start a flow.

    For a request that would be refused by now: the first one may have been stored before the flow
    was changed, and its answer lost.
    """
    since = store().database.now() - IDEMPOTENCY_KEY_AGE
    of_flow = keys_of(plan.name, plan.flow_version_id)
    same_key = IdempotencyKey.objects.filter(of_flow, caller=caller_of(user_id), key=key)
    known = same_key.filter(created_at__gte=since).first()
    if known is None:
        return None
    try:
        body = wrap(known.run_id, as_text(payload))
        digest = Asked(body, options).digest()
    except (PayloadInvalid, ValueError):
        # What cannot be read was never stored.
        return None
    if not is_of_request(known.body_digest, digest, body):
        return None
    return Started(known.run_id, plan.name, repeated=True)


def known_repeat(
    run: Run, key: str, payload: bytes | None, *, user_id: int | None, step: str | None
) -> Started | None:
    """Find the run that a caller's key has from the same request to repeat a run, whatever has
    become of that one since; None for a new key.

    `step`: as in `key_of`. `payload`: None if it is no longer kept; then the request is the same if
    it repeats the same run. Raises IdempotencyConflict.
    """
    version = run.flow_version
    name = version.flow.name if version.flow else version.flow_name
    latest = version.flow.versions.latest("number") if version.flow else version
    since = store().database.now() - IDEMPOTENCY_KEY_AGE
    of_flow = keys_of(name, latest.pk)
    same_key = IdempotencyKey.objects.filter(of_flow, caller=caller_of(user_id), key=key)
    known = same_key.filter(created_at__gte=since).first()
    if known is None:
        return None
    if payload is None:
        if not Run.objects.filter(pk=known.run_id, repeats=run.pk).exists():
            return None
    else:
        body = wrap(known.run_id, payload)
        asked = Asked(body, RunOptions(DEFAULT_PRIORITY), (str(run.pk), step))
        if not is_of_request(known.body_digest, asked.digest(), body):
            raise conflict(known, asked)
    return Started(known.run_id, name, repeated=True)


def _stored_start(
    same_key: QuerySet[IdempotencyKey], run: NewRun, key: IdempotencyKey
) -> Started | None:
    known = same_key.first()
    if known is None:
        return None
    if not is_of_request(known.body_digest, key.body_digest, run.body):
        raise conflict(known, key.asked)
    return Started(known.run_id, run.flow_name, repeated=True)
