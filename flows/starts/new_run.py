"""A run that is to be stored, made from what a caller gives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from uuid_utils.compat import uuid7

from flows.errors import CallbackRefused, DeadlineInvalid, DelayTooLong
from flows.message.envelope import parse_payload, parse_value, wrap
from flows.message.python_payload import write_payload
from flows.models.run_marks import marked
from flows.models.webhook_url import is_private
from flows.plan import FlowPlan, StepPlan, flow_plan
from flows.store import NewRun, StartRate, store
from scripts.traces import are_on

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from flows.access.rights import Caller

# A mapping of Python values, or JSON text, which travels as it is.
Payload = Mapping[str, Any] | bytes

SECONDS_PER_DAY = 86_400


def plan_of(flow: str | FlowPlan) -> FlowPlan:
    """Return the plan of a named flow. Raises UnknownFlow."""
    return flow if isinstance(flow, FlowPlan) else flow_plan(flow)


def new_run(
    plan: FlowPlan,
    payload: Payload,
    user: Caller | None,
    priority: int,
    delayed_until: datetime | None,
    at_once: bool = False,
    at: StepPlan | None = None,
    id: UUID | None = None,
    labels: tuple[tuple[str, str], ...] = (),
    deadline: datetime | None = None,
    callback_url: str = "",
    rates: tuple[StartRate, ...] = (),
    called_by: SpanContext | None = None,
) -> NewRun:
    """Return a run that begins at a step, the first if none is given, with its checked payload.

    Where traces are on it is started in the current span, unless another one is given.
    """
    first = at or plan.require_runnable()
    raw = as_text(payload)
    # Only a run that repeats another names its step.
    comes_back = at is not None
    if first.position:
        parse_value(raw, comes_back=comes_back)
    else:
        plan.require_valid(parse_payload(raw, comes_back=comes_back), at_once)
    if callback_url and is_private(callback_url) and not plan.private_webhooks:
        raise CallbackRefused
    correlation_id = id or uuid7()
    if callback_url or deadline:
        correlation_id = marked(
            correlation_id, callback=bool(callback_url), deadline=deadline is not None
        )
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
        labels=labels,
        deadline=deadline,
        callback_url=callback_url,
        rates=rates,
        called_by=(called_by or _current_span()) if are_on() else None,
    )


def _current_span() -> SpanContext | None:
    from scripts.traces.context import current

    return current()


def as_text(payload: Payload) -> bytes:
    return payload if isinstance(payload, bytes) else write_payload(payload)


def delayed_until(start_at: datetime | None) -> datetime | None:
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


def deadline_at(deadline: datetime | timedelta | None) -> datetime | None:
    """Return the time until which the run has to end. A duration counts from now.

    Raises DeadlineInvalid where the calendar ends before.
    """
    if not isinstance(deadline, timedelta):
        return deadline
    try:
        return store().database.now() + deadline
    except OverflowError:
        detail = "is after the end of the calendar"
        fault = {"parameter": "deadline", "detail": detail}
        raise DeadlineInvalid(f"deadline: {detail}.", errors=[fault]) from None


def require_time_left(run: NewRun) -> None:
    """Raise DeadlineInvalid where the run would have to end before it starts."""
    if run.deadline is None:
        return
    if run.deadline <= (run.start_at or store().database.now()):
        raise DeadlineInvalid
