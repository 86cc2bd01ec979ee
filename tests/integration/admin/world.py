"""A small configuration with runs in every state, inserted as the engine would leave them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import Group
from django.utils import timezone
from uuid_utils.compat import uuid7

from flows.models import (
    Consumer,
    DeadLetter,
    Flow,
    Queue,
    QueueState,
    RoleMapping,
    Run,
    Step,
    StepRun,
)
from scripts.models import Script

TRACEBACK = 'Traceback (most recent call last):\n  File "charge", line 2\nTimeoutError: no answer'


INPUT_SCHEMA = {
    "type": "object",
    "properties": {
        "orderId": {"type": "string", "examples": ["A-1001"]},
        "amount": {"type": "integer", "minimum": 1},
    },
    "required": ["orderId", "amount"],
}


@dataclass
class World:
    """What the tests find in the database."""

    flow: Flow
    orders: Queue
    billing: Queue
    spare: Queue
    script: Script
    role: Group
    completed: Run
    failed: Run
    dead_letter: DeadLetter


def make_run(version, status, **fields) -> Run:
    now = timezone.now()
    ended = status in {Run.Status.COMPLETED, Run.Status.FAILED, Run.Status.CANCELLED}
    return Run.objects.create(
        correlation_id=uuid7(),
        flow_version=version,
        status=status,
        created_at=now,
        started_at=now,
        finished_at=now + timedelta(seconds=1) if ended else None,
        **fields,
    )


def add_attempt(run, step, *, outcome="COMPLETED", error="", logs="") -> StepRun:
    return StepRun.objects.create(
        run=run,
        step=step,
        outcome=outcome,
        error=error,
        logs=logs,
        started_at=run.created_at,
        finished_at=run.created_at + timedelta(milliseconds=12),
    )


def make_world() -> World:
    """Make the objects of a small configuration, and runs in every state."""
    script = Script.objects.create(
        name="reserve-goods",
        code="def run(message, context): return message",
        input_schema=INPUT_SCHEMA,
    )
    orders, billing, spare = (
        Queue.objects.create(name=name) for name in ("orders", "billing", "spare")
    )
    flow = Flow.objects.create(name="order-processing")
    for position, (name, queue) in enumerate([("reserve", orders), ("charge", billing)]):
        Step.objects.create(flow=flow, position=position, name=name, script=script, queue=queue)
    role = Group.objects.create(name="shop")
    RoleMapping.objects.create(role=role, right="start", flow=flow)
    QueueState.objects.filter(queue=billing).update(depth=12)
    version = flow.make_version()
    reserve, charge = version.steps.order_by("position")
    completed = make_run(version, Run.Status.COMPLETED, result='{"mail": "sent"}')
    add_attempt(completed, reserve, logs='[{"at": 0.5, "level": "info", "text": "reserved"}]')
    add_attempt(completed, charge)
    failed = make_run(version, Run.Status.FAILED, error=TRACEBACK)
    add_attempt(failed, reserve)
    add_attempt(failed, charge, outcome="FAILED", error=TRACEBACK)
    for status in (Run.Status.QUEUED, Run.Status.RUNNING, Run.Status.CANCELLED):
        make_run(version, status)
    letter = DeadLetter.objects.create(
        run=failed,
        step=charge,
        reason="exhausted",
        error=TRACEBACK,
        error_class="TimeoutError: no answer",
        deliveries=5,
        body=json.dumps({"correlationId": str(failed.pk), "payload": {"orderId": "A-1"}}),
        dead_at=timezone.now(),
    )
    now = timezone.now()
    Consumer.objects.create(
        queue=orders,
        threads=4,
        cluster="asyncengine",
        machine="worker-1",
        pid=7,
        created_at=now,
        heartbeat_at=now,
    )
    return World(flow, orders, billing, spare, script, role, completed, failed, letter)
