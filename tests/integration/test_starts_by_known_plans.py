"""Starts by the plan of the start before, on PostgreSQL in one round trip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from flows import engine
from flows.errors import PayloadInvalid, QueueFull, UnknownFlow
from flows.models import Flow, FlowTotals, Message, Queue, Run
from scripts.models import Script
from tests.builders import ECHO, make_flow
from tests.databases import is_postgresql

pytestmark = pytest.mark.django_db(transaction=True)

NEEDS_A = {"type": "object", "required": ["a"]}


@pytest.fixture
def flow() -> Flow:
    """A flow whose plan is known."""
    made = make_flow(codes=[ECHO], size=4)
    engine.start("flow", {})
    engine.start("flow", {})
    return made


@pytest.mark.skipif(not is_postgresql(), reason="SQLite has no round trips")
def test_a_start_by_a_known_plan_takes_one_round_trip(flow):
    before = connection.connection.uses

    run = engine.start("flow", {"a": 1})

    assert connection.connection.uses - before == 1
    assert Run.objects.get(pk=run.correlation_id).status == Run.Status.QUEUED
    assert Message.objects.filter(run=run.correlation_id).exists()
    assert FlowTotals.objects.get(flow_name="flow").accepted == 3


def test_a_start_after_a_change_of_the_script_is_of_the_new_version(flow):
    script = Script.objects.get()
    script.code += "\n# changed\n"
    script.save()

    runs = [engine.start("flow", {}).correlation_id for _ in range(2)]

    versions = dict(Run.objects.values_list("pk", "flow_version"))
    new = {versions.pop(run) for run in runs}
    assert len(new) == 1
    assert len(versions) == 2
    assert new.isdisjoint(versions.values())


def needs_more() -> None:
    Script.objects.update(input_schema=NEEDS_A)


def deleted() -> None:
    Flow.objects.all().delete()


@pytest.mark.parametrize(
    ("change", "error"), [(needs_more, PayloadInvalid), (deleted, UnknownFlow)]
)
def test_what_the_change_forbids_is_refused(
    flow: Flow, change: Callable[[], Any], error: type[Exception]
):
    change()

    with pytest.raises(error):
        engine.start("flow", {})

    assert Run.objects.count() == Message.objects.count() == 2


def test_what_the_known_plan_refuses_and_the_change_allows_is_started(flow):
    needs_more()
    engine.start("flow", {"a": 1})
    Script.objects.update(input_schema={})

    engine.start("flow", {})

    assert Run.objects.count() == Message.objects.count() == 4


def test_a_full_queue_refuses_a_start_by_a_known_plan(flow):
    Queue.objects.update(size=3)
    engine.start("flow", {})

    for _ in range(2):
        with pytest.raises(QueueFull):
            engine.start("flow", {})

    assert Run.objects.count() == Message.objects.count() == 3
    assert FlowTotals.objects.get(flow_name="flow").accepted == 3
