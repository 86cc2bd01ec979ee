"""A small configuration with runs in every state, inserted as the engine would leave them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import Group
from django.utils import timezone
from uuid_utils.compat import uuid7

from flows.models import DeadLetter, Flow, Queue, Run, StepRun
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
