"""The models refuse to delete what work under way needs, and what the totals count."""

from typing import Any

import pytest
from django.db import connection
from django.db.models import ProtectedError

from flows import engine
from flows.models import (
    BranchEnd,
    DeadLetter,
    FlowTotals,
    FlowVersion,
    Message,
    Queue,
    QueueState,
    Run,
    StepVersion,
)
from flows.monitoring import conservation
from flows.plan import flow_plan
from tests.builders import ECHO, RAISING, make_flow, run_of, work, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)

FAN = "def run(message, context):\n    return [message, {'payload': {'dead': True}}]\n"
DYING = (
    "def run(message, context):\n    if message['payload']: raise ValueError\n    return message\n"
)


def imbalances() -> list[str]:
    return [fault for checked in conservation.check() for fault in checked.faults()]


def by_query(model):
    model.objects.all().delete()


def by_instance(model):
    model.objects.first().delete()


def by_a_sorted_part(model):
    model.objects.order_by("pk").filter(pk=model.objects.last().pk).delete()


ways = pytest.mark.parametrize("delete", [by_query, by_instance, by_a_sorted_part])


@ways
@pytest.mark.parametrize("model", [Message, Run, StepVersion, FlowVersion, QueueState, FlowTotals])
def test_nothing_is_deleted_of_a_run_that_is_under_way(model, delete):
    flow = make_flow(codes=[ECHO, ECHO])
    live = engine.start("flow", {}).correlation_id

    with pytest.raises(ProtectedError):
        delete(model)
    work_until_idle(flow)

    assert run_of(live).status == Run.Status.COMPLETED
    assert imbalances() == []


@pytest.mark.parametrize("delete", [by_query, by_instance])
def test_a_queue_stays_where_a_message_comes_in_while_it_is_deleted(delete):
    flow = make_flow(codes=[ECHO])
    plan, late = flow_plan("flow"), list[Any]()
    flow.steps.all().delete()

    def start_late(execute, sql, params, many, context):
        answer = execute(sql, params, many, context)
        if 'FROM "flows_message"' in sql and not late:
            late.append(plan)
            late.append(engine.start(plan, {}).correlation_id)
        return answer

    with connection.execute_wrapper(start_late), pytest.raises(ProtectedError, match="has come"):
        delete(Queue)

    assert Message.objects.get().queue.name == "flow-0"
    assert engine.cancel(run_of(late[1])).status == Run.Status.CANCELLED
    assert imbalances() == []
    delete(Queue)
    assert not Queue.objects.exists()


@ways
def test_an_open_dead_letter_is_decided_on_and_not_deleted(delete):
    flow = make_flow(codes=[RAISING], max_deliveries=1)
    dead = engine.start("flow", {}).correlation_id
    work_until_idle(flow)

    with pytest.raises(ProtectedError, match="reprocess or discard it"):
        delete(DeadLetter)
    engine.discard(DeadLetter.objects.get())
    with pytest.raises(ProtectedError, match=f"became of the run {dead}"):
        delete(DeadLetter)

    assert imbalances() == []


@ways
def test_an_output_that_waits_for_other_branches_stays(delete):
    flow = make_flow(codes=[FAN, ECHO])
    engine.start("flow", {})
    work("flow-0")
    Message.objects.filter(pk=Message.objects.last().pk).update(available_at="2100-01-01T00:00Z")
    work_until_idle(flow)
    assert BranchEnd.objects.count() == 1

    with pytest.raises(ProtectedError, match="its other branches"):
        delete(BranchEnd)
    Message.objects.update(available_at="2020-01-01T00:00Z")
    work_until_idle(flow)

    assert Run.objects.get().status == Run.Status.COMPLETED


@ways
def test_a_failed_run_that_goes_on_with_other_branches_stays(delete):
    flow = make_flow(codes=[FAN, DYING], max_deliveries=1)
    engine.start("flow", {})
    work("flow-0")
    alive = [message.pk for message in Message.objects.all() if '"dead"' not in message.body]
    Message.objects.filter(pk__in=alive).update(available_at="2100-01-01T00:00Z")
    work_until_idle(flow)

    with pytest.raises(ProtectedError, match="is FAILED, but a message of it is left"):
        delete(Run)

    assert Message.objects.filter(pk__in=alive).exists()


@ways
def test_a_run_that_has_ended_is_deleted_with_its_dead_letters(delete):
    flow = make_flow(codes=[RAISING], max_deliveries=1)
    engine.start("flow", {})
    work_until_idle(flow)

    delete(Run)

    assert not Run.objects.exists()
    assert not DeadLetter.objects.exists()


@ways
def test_a_version_that_no_run_has_seen_is_deleted_as_a_whole(delete):
    make_flow(codes=[ECHO]).make_version()

    with pytest.raises(ProtectedError, match="never changes"):
        delete(StepVersion)
    delete(FlowVersion)

    assert not StepVersion.objects.exists()
    assert engine.start("flow", {}).correlation_id
