"""`context.finish(output)`: a run, or a branch of it, ends at a step that is not the last."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from flows import engine
from flows.models import BranchEnd, FlowTotals, Message, Queue, QueueState, Run, Step
from flows.monitoring.trace import trace
from tests.builders import ECHO, make_callable, make_flow, make_script, run_of, work_until_idle
from tests.integration.kit.documents import faults
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.django_db

HERE = "tests.integration.test_finish"
SPLIT = (
    "def run(message, context):\n"
    "    return [\n"
    "        {'correlationId': context.correlation_id, 'payload': {'n': n}}\n"
    "        for n in range(message['payload']['count'])\n"
    "    ]\n"
)
FINISH = {
    "python": "def run(message, context):\n    return context.finish(message['payload'])\n",
    "javascript": "context.finish(context.Data.payload);\n",
}
FINISH_SOME = (
    "def run(message, context):\n"
    "    if message['payload']['n'] in (1, 10):\n"
    "        context.finish({'payload': {'n': 100}})\n"
    "    return message\n"
)
NOT_TO_RUN = "def run(message, context):\n    raise ValueError('it ran')\n"
GATHER = "def run(message, context):\n    return [p['n'] for p in message['payload']]\n"


def finishes(message, context):
    context.finish(["done", message["payload"]])
    return message


def books_are_balanced(completed: int) -> bool:
    totals = FlowTotals.objects.get()
    return (
        set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}
        and not Message.objects.exists()
        and not BranchEnd.objects.exists()
        and (totals.completed, totals.failed) == (completed, 0)
        and faults() == []
    )


def statuses(run: Run) -> list[str]:
    return [step["status"] for step in trace(run)["steps"]]


@pytest.mark.parametrize("language", FINISH)
def test_a_run_ends_where_its_script_finishes_it_and_later_steps_are_skipped(
    language, admin_client
):
    flow = make_flow(codes=[ECHO, ECHO, NOT_TO_RUN, NOT_TO_RUN])
    step = flow.steps.get(position=1)
    step.script = make_script("finishing", FINISH[language], language=language)
    step.save()
    ids = [
        engine.start("flow", {"n": n, "big": 12345678901234567890}).correlation_id for n in range(3)
    ]

    work_until_idle(flow)

    runs = [run_of(id) for id in ids]
    assert [run.status for run in runs] == ["COMPLETED"] * 3
    assert [run.result.replace(" ", "") for run in runs] == [
        f'{{"n":{n},"big":12345678901234567890}}' for n in range(3)
    ]
    assert statuses(runs[0]) == ["COMPLETED", "COMPLETED", "SKIPPED", "SKIPPED"]
    assert trace(runs[0])["currentStep"] is None
    assert books_are_balanced(3)
    page = admin_client.get(reverse("admin:flows_run_change", args=[runs[0].pk])).content.decode()
    assert page.count("The run has left out this step.") == 2


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_callable_finishes_a_run(in_transaction, settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]
    path = f"{HERE}.finishes"
    flow = make_flow(codes=[path, NOT_TO_RUN])
    make_callable(path, in_transaction=in_transaction)
    run = run_of(engine.start("flow", {"n": 1}).correlation_id)

    work_until_idle(flow)

    assert json.loads(run_of(run.pk).result or "") == ["done", {"n": 1}]
    assert statuses(run_of(run.pk)) == ["COMPLETED", "SKIPPED"]
    assert books_are_balanced(1)


def test_a_branch_that_finishes_counts_at_the_join_in_its_place():
    flow = make_flow(codes=[SPLIT, FINISH_SOME, ECHO, GATHER])
    Step.objects.filter(name="flow-3").update(join=True)
    run = run_of(engine.start("flow", {"count": 12}).correlation_id)

    work_until_idle(flow)

    assert json.loads(run_of(run.pk).result or "") == [0, 100, *range(2, 10), 100, 11]
    assert run.step_runs.filter(step__name="flow-2").count() == 10
    assert books_are_balanced(1)


def test_branches_that_all_finish_leave_out_what_is_before_their_join():
    flow = make_flow(codes=[SPLIT, FINISH["python"], NOT_TO_RUN, GATHER])
    Step.objects.filter(name="flow-3").update(join=True)
    run = run_of(engine.start("flow", {"count": 3}).correlation_id)

    work_until_idle(flow)

    assert json.loads(run_of(run.pk).result or "") == [0, 1, 2]
    assert statuses(run_of(run.pk)) == ["COMPLETED", "COMPLETED", "SKIPPED", "COMPLETED"]
    assert books_are_balanced(1)


def test_branches_that_finish_wait_for_room_at_their_join():
    flow = make_flow(codes=[SPLIT, FINISH["python"], NOT_TO_RUN, GATHER])
    Step.objects.filter(name="flow-3").update(join=True)
    Queue.objects.filter(name="flow-3").update(size=1)
    ids = [engine.start("flow", {"count": 2}).correlation_id for _ in range(4)]

    def look() -> bool:
        work_until_idle(flow)
        return not Message.objects.exists()

    wait_for(look, PATIENCE)

    assert [json.loads(run_of(id).result or "") for id in ids] == [[0, 1]] * 4
    assert books_are_balanced(4)


def test_without_a_join_the_output_of_a_branch_is_in_the_list_of_the_result():
    flow = make_flow(codes=[SPLIT, FINISH["python"], NOT_TO_RUN])
    run = run_of(engine.start("flow", {"count": 2}).correlation_id)

    work_until_idle(flow)

    assert json.loads(run_of(run.pk).result or "") == [{"n": 0}, {"n": 1}]
    assert books_are_balanced(1)


@pytest.mark.parametrize(
    ("language", "code", "result"),
    [
        ("python", "def run(m, c):\n    c.finish(1)\n    c.finish([{'x': 2}])\n", [{"x": 2}]),
        ("javascript", "setData(1); context.finish(2); context.finish([3]);", [3]),
        ("javascript", "context.finish();", None),
        ("javascript", "context.finish(1); try { setData(context.Data) } catch {}", 1),
    ],
)
def test_the_last_finish_counts(language, code, result):
    flow = make_flow(codes=[ECHO, NOT_TO_RUN])
    step = flow.steps.get(position=0)
    step.script = make_script("finishing", code, language=language)
    step.save()
    run = run_of(engine.start("flow", {}).correlation_id)

    work_until_idle(flow)

    assert run_of(run.pk).status == Run.Status.COMPLETED
    assert json.loads(run_of(run.pk).result or "") == result


def test_a_script_that_fails_after_it_has_finished_fails():
    code = "def run(message, context):\n    context.finish(1)\n    raise Reject('no')\n"
    flow = make_flow(codes=[code, NOT_TO_RUN])
    run = run_of(engine.start("flow", {}).correlation_id)

    work_until_idle(flow)

    assert (run_of(run.pk).status, run_of(run.pk).error) == ("FAILED", "no")
