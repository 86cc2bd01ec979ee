"""The ends of runs that no attempt shows are noted, and no others."""

from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from flows import engine
from flows.models import DeadLetter, QuietEnd, Run
from flows.tasks.retention import purge
from tests.builders import ECHO, RAISING, make_flow, run_of, work_until_idle

pytestmark = pytest.mark.django_db

FAN_OUT = "def run(message, context):\n    return [{'payload': {'n': n}} for n in range(3)]\n"
ODD_FAILS = (
    "def run(message, context):\n"
    "    if message['payload']['n']:\n"
    "        raise Reject('odd')\n"
    "    return message\n"
)


def quiet() -> list[UUID]:
    return list(QuietEnd.objects.values_list("run", flat=True))


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        ([ECHO, ECHO], Run.Status.COMPLETED),
        ([FAN_OUT, ECHO], Run.Status.COMPLETED),
        ([RAISING], Run.Status.FAILED),
        ([FAN_OUT, ODD_FAILS], Run.Status.FAILED),
    ],
)
def test_an_end_with_an_attempt_is_not_noted(codes, status):
    flow = make_flow(codes=codes, max_deliveries=1)
    run = engine.start("flow", {})

    work_until_idle(flow)

    assert run_of(run.correlation_id).status == status
    assert quiet() == []


def test_a_cancelled_run_is_noted_once():
    make_flow(codes=[ECHO])
    run = engine.start("flow", {})

    engine.cancel(run_of(run.correlation_id))
    engine.cancel(run_of(run.correlation_id))

    assert quiet() == [run.correlation_id]


def test_a_run_that_completes_when_a_dead_branch_is_discarded_is_noted():
    flow = make_flow(codes=[FAN_OUT, ODD_FAILS])
    run = engine.start("flow", {})
    work_until_idle(flow)
    repaired, discarded = DeadLetter.objects.open()
    engine.reprocess(repaired, payload=b'{"n": 0}')
    work_until_idle(flow)
    assert quiet() == []

    engine.discard(discarded)

    assert run_of(run.correlation_id).status == Run.Status.COMPLETED
    assert quiet() == [run.correlation_id]


def test_a_purge_forgets_noted_ends_after_a_day():
    make_flow(codes=[ECHO])
    engine.cancel(run_of(engine.start("flow", {}).correlation_id))

    purge(timezone.now() + timedelta(hours=23))
    assert len(quiet()) == 1

    purge(timezone.now() + timedelta(hours=25))
    assert quiet() == []
