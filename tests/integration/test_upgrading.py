"""Runs that wait go on with the newest version of their flow, where a save has said so."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from flows import engine
from flows.models import AuditEntry, DeadLetter, Flow, Message, Queue, Run, Step, StepRun
from flows.monitoring.conservation import check
from flows.monitoring.trace import trace
from flows.store import store
from flows.tasks import upgrading
from tests.builders import ECHO, make_flow, make_script, open_lease, work, work_until_idle
from tests.integration.api.helpers import work_tasks
from tests.interleaving import Turn, interleave
from tests.side_by_side import side_by_side

pytestmark = pytest.mark.django_db

MARKS = """
def run(message, context):
    message["payload"].setdefault("seen", []).append("{0}")
    return message
"""


def save(flow: Flow, *numbers: int, mark: str = "new", upgrades: bool = True) -> None:
    """Give the scripts of these steps new code, as a save in the admin does."""
    with transaction.atomic():
        for number in numbers:
            script = flow.steps.get(position=number).script
            script.code = MARKS.format(mark)
            script.save()
        if upgrades:
            upgrading.upgrade_waiting(flow, user=None)


def seen(run: Any) -> list[str]:
    return json.loads(Run.objects.get(pk=run).result or "")["payload"]["seen"]


@pytest.fixture
def flow() -> Flow:
    return make_flow(codes=[MARKS.format("old")] * 3)


def start(flow: Flow, **options: Any) -> Any:
    return engine.start(flow.name, {}, **options).correlation_id


def test_a_run_that_waits_goes_on_with_the_new_version_and_one_that_is_started_later_has_it(flow):
    before = start(flow)
    save(flow, 0, 1, 2)
    after = start(flow)

    work_tasks()
    work_until_idle(flow)

    assert seen(before) == seen(after) == ["new", "new", "new"]
    attempts = StepRun.objects.filter(run=before).order_by("finished_at")
    assert {each.step.flow_version.number for each in attempts} == {2}
    assert AuditEntry.objects.get(verb="upgrade").after == {"version": 2, "messages moved": 1}
    assert Run.objects.get(pk=before).flow_version.number == 2
    assert [fault for checked in check() for fault in checked.faults()] == []


def test_without_the_choice_a_run_finishes_on_its_version(flow):
    run = start(flow)

    save(flow, 0, 1, 2, upgrades=False)
    work_tasks()
    work_until_idle(flow)

    assert seen(run) == ["old", "old", "old"]


def test_what_was_done_stays_and_the_next_step_is_that_of_the_new_version(flow):
    run = start(flow)
    engine.pause(flow.steps.get(position=1).queue)
    work("flow-0")

    save(flow, 0, 1, 2)
    work_tasks()
    engine.resume(flow.steps.get(position=1).queue)
    work_until_idle(flow)

    assert seen(run) == ["old", "new", "new"]


def test_a_message_that_failed_and_waits_for_its_next_delivery_gets_the_mended_script():
    code = "def run(message, context):\n    raise ValueError\n"
    hour = timedelta(hours=1)
    flow = make_flow(codes=[code], backoff_initial=hour, backoff_max=hour)
    run = start(flow)
    work("flow-0")
    assert Message.objects.get().deliveries == 1

    save(flow, 0)
    work_tasks()
    Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))
    work_until_idle(flow)

    assert seen(run) == ["new"]
    assert not DeadLetter.objects.exists()


def test_a_delayed_start_begins_with_the_new_version(flow):
    run = start(flow, start_at=timezone.now() + timedelta(hours=1))

    save(flow, 0, 1, 2)
    work_tasks()
    Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))
    work_until_idle(flow)

    assert seen(run) == ["new", "new", "new"]


def renamed(flow: Flow) -> None:
    Step.objects.filter(flow=flow, position=0).update(name="other")


def in_another_queue(flow: Flow) -> None:
    queue = Queue.objects.create(name="other")
    Step.objects.filter(flow=flow, position=0).update(queue=queue)


def behind_another_step(flow: Flow) -> None:
    for step in flow.steps.order_by("-position"):
        step.position += 1
        step.save()
    Step.objects.create(
        flow=flow,
        position=0,
        name="before",
        script=make_script("before", ECHO),
        queue=Queue.objects.create(name="before"),
    )


def before_the_last_step(flow: Flow) -> None:
    """Swap the last two: the message has passed none of them, but the second."""
    first, second = flow.steps.order_by("position")[1:3]
    Step.objects.filter(pk=first.pk).update(position=9)
    Step.objects.filter(pk=second.pk).update(position=1)
    Step.objects.filter(pk=first.pk).update(position=2)


@pytest.mark.parametrize("number", [1, 2])
def test_a_run_whose_steps_were_moved_runs_each_of_its_own_once(flow, number):
    """Otherwise a payment is made twice, or never."""
    run = start(flow)
    held = flow.steps.get(position=number).queue
    engine.pause(held)
    for name in ("flow-0", "flow-1")[:number]:
        work(name)
    assert Message.objects.get().queue == held

    before_the_last_step(flow)
    save(flow, 0)
    work_tasks()
    engine.resume(held)
    for _ in range(2):
        for name in ("flow-1", "flow-2"):
            work(name)

    done = list(StepRun.objects.filter(run=run).order_by("finished_at").values_list("step__name"))
    assert done == [("flow-0",), ("flow-1",), ("flow-2",)]


@pytest.mark.parametrize("change", [renamed, in_another_queue, behind_another_step])
def test_a_message_whose_step_is_no_longer_there_finishes_on_its_version(flow, change):
    run = start(flow)

    change(flow)
    save(flow, 1, 2)
    work_tasks()
    for name in ("flow-0", "flow-1", "flow-2"):
        work(name)

    assert seen(run) == ["old", "old", "old"]
    assert Run.objects.get(pk=run).started_at is not None


def test_a_script_that_waits_goes_on_with_the_state_that_it_knows():
    code = "def run(message, context):\n    if not context.waits:\n        raise Wait(0, state=1)\n"
    code += "    return {'payload': {'seen': ['old', context.wait_state]}}\n"
    flow = make_flow(codes=[code])
    run = start(flow)
    work("flow-0")
    assert Message.objects.get().waiting

    save(flow, 0)
    work_tasks()
    work_until_idle(flow)

    assert seen(run) == ["old", 1]


def test_many_messages_are_moved_by_several_tasks_and_each_once(flow, monkeypatch):
    monkeypatch.setattr(upgrading, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(upgrading, "BATCH", 10)
    other = make_flow("other", codes=[ECHO])
    runs = [start(flow) for _ in range(35)]
    start(other)

    save(flow, 0, 1, 2)
    assert work_tasks() > 4
    steps = Counter(Message.objects.values_list("step__flow_version__number", flat=True))
    work_until_idle(flow)

    assert steps == {2: 35, 1: 1}
    assert {tuple(seen(run)) for run in runs} == {("new", "new", "new")}


def test_a_second_upgrade_takes_up_what_the_first_has_moved_meanwhile(flow):
    run = start(flow)
    save(flow, 0, mark="second")
    save(flow, 0, mark="third")

    work_tasks()
    work_until_idle(flow)

    assert seen(run)[0] == "third"


def with_another_step(flow: Flow, position: int, name: str) -> None:
    for step in flow.steps.filter(position__gte=position).order_by("-position"):
        step.position += 1
        step.save()
    script, queue = make_script(name, ECHO), Queue.objects.create(name=name)
    Step.objects.create(flow=flow, position=position, name=name, script=script, queue=queue)


def test_a_run_has_the_version_with_which_it_goes_on_and_all_its_steps():
    flow = make_flow(codes=[ECHO, ECHO])
    run = start(flow)
    with_another_step(flow, 2, "last")
    with transaction.atomic():
        upgrading.upgrade_waiting(flow, user=None)

    work_tasks()
    work_until_idle(flow)

    shown = trace(Run.objects.get(pk=run))
    assert [(each["name"], each["status"]) for each in shown["steps"]] == [
        ("flow-0", "COMPLETED"),
        ("flow-1", "COMPLETED"),
        ("last", "COMPLETED"),
    ]
    assert shown["flowVersion"] == 2
    assert [fault for checked in check() for fault in checked.faults()] == []


@side_by_side
@pytest.mark.django_db(transaction=True)
def test_a_claim_beside_it_has_room_kept_where_its_message_goes():
    flow = make_flow(codes=[ECHO, ECHO])
    start(flow)
    with_another_step(flow, 1, "between")
    version = flow.make_version()
    lease = open_lease("flow-0")

    def move(turn: Turn) -> None:
        with transaction.atomic():
            upgrading.go_on(version.pk, None, False)
            turn()

    def claim(turn: Turn) -> None:
        store().claim(lease, lambda plan, threads: 1)

    assert interleave(iter([0, 1]), move, claim) == []
    assert [fault for checked in check() for fault in checked.faults()] == []
    store().close(lease)
    work_until_idle(flow)
    assert Run.objects.get().status == Run.Status.COMPLETED
    assert [fault for checked in check() for fault in checked.faults()] == []


def run_in_branches() -> tuple[Flow, Any]:
    """Return a flow, and a run of it whose three branches wait for the step before their join."""
    fan_out = "def run(message, context):\n    return [{'payload': each} for each in range(3)]\n"
    collect = "def run(message, context):\n    return {'payload': {'seen': message['payload']}}\n"
    flow = make_flow(codes=[fan_out, ECHO, collect])
    flow.steps.filter(position=2).update(join=True)
    run = start(flow)
    work("flow-0")
    return flow, run


def test_branches_whose_joins_are_others_finish_on_their_version():
    flow, run = run_in_branches()
    lease = open_lease("flow-1")
    assert len(store().claim(lease, lambda plan, threads: 1)) == 1

    flow.steps.filter(position=2).update(join=False)
    with transaction.atomic():
        upgrading.upgrade_waiting(flow, user=None)
    work_tasks()
    store().close(lease)
    work_until_idle(flow)

    assert sorted(seen(run)) == [0, 1, 2]
    assert StepRun.objects.filter(step__name="flow-2").count() == 1


def test_branches_of_a_run_go_on_with_the_new_version_and_come_together():
    flow, run = run_in_branches()
    assert Message.objects.count() == 3

    script = flow.steps.get(position=1).script
    with transaction.atomic():
        script.code = "def run(message, context):\n    return {'payload': 'new'}\n"
        script.save()
        upgrading.upgrade_runs_of(script, None)
    work_tasks()
    work_until_idle(flow)

    assert seen(run) == ["new", "new", "new"]


def test_a_script_that_waits_keeps_no_other_message_from_the_new_version():
    code = "def run(message, context):\n    if message['payload']['waits'] and not context.waits:\n"
    code += "        raise Wait(3600)\n    return {'payload': {'seen': ['old']}}\n"
    flow = make_flow(codes=[code])
    waiting = engine.start("flow", {"waits": True}).correlation_id
    work("flow-0")
    other = engine.start("flow", {"waits": False}).correlation_id

    save(flow, 0)
    work_tasks()
    Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))
    work_until_idle(flow)

    assert (seen(waiting), seen(other)) == (["old"], ["new"])
