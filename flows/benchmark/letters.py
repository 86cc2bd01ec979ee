"""Dead letters that no script has made: only their repair is measured."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from uuid_utils.compat import uuid7

from flows.benchmark.workbench import CHUNK, Workbench, payload
from flows.message.envelope import wrap
from flows.message.python_payload import write_payload
from flows.models import DeadLetter, FlowTotals, Run
from flows.plan import flow_plan
from flows.store import store

ERROR = "Made by manage.py bench."


def make_letters(bench: Workbench, count: int) -> None:
    """Store as many failed runs, each with a dead letter at the first step, and count them."""
    for first in range(0, count, CHUNK):
        _make_some(bench, range(first, min(first + CHUNK, count)))


@transaction.atomic
def _make_some(bench: Workbench, numbers: range) -> None:
    plan, now = flow_plan(bench.name).require_runnable(), store().database.now()
    ids = [uuid7() for _ in numbers]
    Run.objects.bulk_create(
        Run(
            correlation_id=id,
            flow_version_id=plan.flow_version_id,
            status=Run.Status.FAILED,
            created_at=now,
            started_at=now,
            finished_at=now,
            error=ERROR,
        )
        for id in ids
    )
    DeadLetter.objects.bulk_create(
        DeadLetter(
            run_id=id,
            step_id=plan.step_id,
            reason=DeadLetter.Reason.EXHAUSTED,
            cause=DeadLetter.Cause.FAILED,
            error=ERROR,
            error_class=ERROR,
            body=wrap(id, write_payload(payload(number))),
            deliveries=5,
            dead_at=now,
        )
        for id, number in zip(ids, numbers, strict=True)
    )
    FlowTotals.objects.filter(flow_name=bench.name).update(
        accepted=F("accepted") + len(ids),
        failed=F("failed") + len(ids),
        letters_made=F("letters_made") + len(ids),
    )
