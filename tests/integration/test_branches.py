"""Fan-out: a list of messages goes on as branches, which end, or meet at a join."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from flows import engine
from flows.models import BranchEnd, DeadLetter, FlowTotals, Message, Queue, QueueState, Run, Step
from flows.store import sql, store
from tests.builders import ECHO, counters, make_flow, run_of, work_until_idle

pytestmark = pytest.mark.django_db

SPLIT = (
    "def run(message, context):\n"
    "    return [\n"
    "        {'correlationId': context.correlation_id, 'payload': {'n': n}}\n"
    "        for n in range(message['payload']['count'])\n"
    "    ]\n"
)
DOUBLE = "def run(message, context):\n    message['payload']['n'] *= 2\n    return message\n"
PICKY = (
    "def run(message, context):\n"
    "    if message['payload']['n'] == 1:\n"
    "        raise Reject('not this one')\n"
    "    return message\n"
)
SUM = "def run(message, context):\n    return sum(p['n'] for p in message['payload'])\n"


def start(count: int) -> Run:
    return run_of(engine.start("flow", {"count": count}).correlation_id)


def at_rest() -> bool:
    idle = set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}
    return idle and not Message.objects.exists() and not BranchEnd.objects.exists()


def test_a_run_completes_when_all_its_branches_have_with_the_list_of_their_outputs():
    flow = make_flow(codes=[SPLIT, DOUBLE])
    run = start(5)

    work_until_idle(flow)

    run.refresh_from_db()
    assert run.status == Run.Status.COMPLETED
    assert [item["payload"]["n"] for item in json.loads(run.result or "")] == [0, 2, 4, 6, 8]
    assert {item["correlationId"] for item in json.loads(run.result or "")} == {str(run.pk)}
    assert run.step_runs.filter(step__name="flow-1").count() == 5
    assert at_rest()


def test_a_join_gets_the_payloads_of_all_branches_in_their_order_as_one_message():
    flow = make_flow(codes=[SPLIT, DOUBLE, SUM])
    Step.objects.filter(name="flow-2").update(join=True)
    runs = [start(count) for count in (4, 1, 3)]

    work_until_idle(flow)

    assert [run_of(run.pk).result for run in runs] == ["12", "0", "6"]
    assert run_of(runs[0].pk).step_runs.filter(step__name="flow-2").count() == 1
    assert at_rest()


def test_steps_after_a_join_go_on_as_usual():
    flow = make_flow(codes=[SPLIT, ECHO, ECHO, SUM])
    Step.objects.filter(name="flow-2").update(join=True)
    run = start(3)

    work_until_idle(flow)

    assert run_of(run.pk).result == "3"
    assert at_rest()


def test_a_fan_out_right_before_a_join_comes_together_at_once():
    flow = make_flow(codes=[SPLIT, SUM])
    Step.objects.filter(name="flow-1").update(join=True)
    run = start(3)

    work_until_idle(flow)

    assert run_of(run.pk).result == "3"
    assert at_rest()


def test_an_empty_list_completes_the_run_with_an_empty_result():
    flow = make_flow(codes=[SPLIT, ECHO])
    run = start(0)

    work_until_idle(flow)

    run.refresh_from_db()
    assert (run.status, run.result) == (Run.Status.COMPLETED, "[]")
    assert at_rest()


def test_branches_fan_out_again_and_keep_their_order():
    again = (
        "def run(message, context):\n"
        "    n = message['payload']['n']\n"
        "    return [{'payload': {'n': 10 * n + i}} for i in range(2)]\n"
    )
    flow = make_flow(codes=[SPLIT, again, ECHO])
    run = start(3)

    work_until_idle(flow)

    result = json.loads(run_of(run.pk).result or "")
    assert [item["payload"]["n"] for item in result] == [0, 1, 10, 11, 20, 21]
    assert at_rest()


def test_more_branches_than_there_is_room_for_go_on_as_room_comes():
    flow = make_flow(codes=[SPLIT, DOUBLE])
    Queue.objects.filter(name="flow-1").update(size=10, paused=True)
    first, second = start(8), start(8)

    work_until_idle(flow)
    assert counters("flow-1")[0] <= 10
    Queue.objects.filter(name="flow-1").update(paused=False)
    work_until_idle(flow)

    for run in (first, second):
        assert run_of(run.pk).status == Run.Status.COMPLETED
        assert len(json.loads(run_of(run.pk).result or "")) == 8
        assert run_of(run.pk).step_runs.filter(step__name="flow-0").count() == 1
    assert at_rest()


def test_a_fan_out_larger_than_the_next_queue_is_a_dead_letter_that_says_so():
    flow = make_flow(codes=[SPLIT, ECHO])
    Queue.objects.filter(name="flow-1").update(size=3)
    start(4)

    work_until_idle(flow)

    dead = DeadLetter.objects.get()
    assert dead.reason == DeadLetter.Reason.TOO_MANY
    assert "4 messages" in dead.error
    assert not Message.objects.exists()


def test_a_run_with_a_dead_branch_fails_and_completes_when_it_is_reprocessed():
    flow = make_flow(codes=[SPLIT, PICKY])
    run = start(3)
    work_until_idle(flow)
    assert run_of(run.pk).status == Run.Status.FAILED
    step = flow.steps.last()
    step.script.code = ECHO
    step.script.save()

    engine.reprocess(DeadLetter.objects.get(), newest_script=True)
    work_until_idle(flow)

    run.refresh_from_db()
    assert run.status == Run.Status.COMPLETED
    assert [item["payload"]["n"] for item in json.loads(run.result or "")] == [0, 1, 2]
    totals = FlowTotals.objects.get()
    assert (totals.accepted, totals.completed, totals.failed) == (1, 1, 0)
    assert at_rest()


def test_a_run_with_two_dead_branches_stays_failed_until_both_are_reprocessed():
    flow = make_flow(codes=[SPLIT, "def run(message, context):\n    raise Reject('no')\n"])
    run = start(2)
    work_until_idle(flow)
    step = flow.steps.last()
    step.script.code = ECHO
    step.script.save()
    first, second = DeadLetter.objects.all()

    engine.reprocess(first, newest_script=True)
    work_until_idle(flow)
    assert run_of(run.pk).status == Run.Status.FAILED
    engine.reprocess(second, newest_script=True)
    work_until_idle(flow)

    assert run_of(run.pk).status == Run.Status.COMPLETED
    totals = FlowTotals.objects.get()
    assert (totals.completed, totals.failed) == (1, 0)


def test_branches_of_a_cancelled_run_all_leave():
    flow = make_flow(codes=[SPLIT, ECHO])
    Queue.objects.filter(name="flow-1").update(paused=True)
    run = start(5)
    work_until_idle(flow)
    assert Message.objects.count() == 5

    engine.cancel(run)

    assert run_of(run.pk).status == Run.Status.CANCELLED
    assert at_rest()


def test_branches_are_as_urgent_as_what_they_came_from():
    flow = make_flow(codes=[SPLIT, ECHO])
    Queue.objects.filter(name="flow-1").update(paused=True)
    engine.start("flow", {"count": 2}, priority=8)

    work_until_idle(flow)

    assert set(Message.objects.values_list("priority", flat=True)) == {8}


def test_a_branch_that_fails_is_redelivered_alone():
    once = (
        "def run(message, context):\n"
        "    if message['payload']['n'] == 1 and context.attempt == 1:\n"
        "        raise ValueError('once')\n"
        "    return [context.delivery_id, context.attempt]\n"
    )
    flow = make_flow(codes=[SPLIT, once])
    run = start(2)
    work_until_idle(flow)
    Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))

    work_until_idle(flow)

    (first, _), (second, attempt) = json.loads(run_of(run.pk).result or "")
    assert first != second
    assert attempt == 2


def test_digits_of_long_numbers_survive_a_fan_out():
    long = "def run(message, context):\n    return [{'payload': 12345678901234567890123}]\n"
    flow = make_flow(codes=[long, ECHO])
    run = start(1)

    work_until_idle(flow)

    assert "12345678901234567890123" in (run_of(run.pk).result or "")


@pytest.mark.long
def test_a_step_may_fan_out_again_and_again():
    one = "def run(message, context):\n    return [message]\n"
    flow = make_flow(codes=[one] * 45 + [ECHO])
    run = engine.start("flow", {"n": 7}).correlation_id

    work_until_idle(flow)

    assert [item["payload"] for item in json.loads(run_of(run).result or "")] == [{"n": 7}]
    assert at_rest()


def test_fan_outs_of_fan_outs_come_to_an_end_that_says_why():
    flow = make_flow(codes=[SPLIT, SPLIT, ECHO])
    Queue.objects.filter(name="flow-1").update(paused=True)
    run = start(1)
    work_until_idle(flow)
    Message.objects.update(branch=".".join(["000000"] * 200), body=message_body(run))
    Queue.objects.filter(name="flow-1").update(paused=False)

    work_until_idle(flow)

    dead = DeadLetter.objects.get()
    assert dead.reason == DeadLetter.Reason.TOO_MANY
    assert "200 times" in dead.error
    assert run_of(run.pk).status == Run.Status.FAILED


def message_body(run: Run) -> str:
    return json.dumps({"correlationId": str(run.pk), "payload": {"count": 1}})


LARGE = "def run(message, context):\n    return {'payload': {'n': 1, 'text': 'ä' * 500}}\n"


def test_outputs_that_are_too_large_together_fail_their_run_with_the_cause(settings):
    settings.ASYNCENGINE_MAX_RESULT_BYTES = 10_000
    flow = make_flow(codes=[SPLIT, LARGE])
    fitting, too_large = start(8), start(20)

    work_until_idle(flow)

    assert run_of(fitting.pk).status == Run.Status.COMPLETED
    failed = run_of(too_large.pk)
    assert (failed.status, failed.result) == (Run.Status.FAILED, None)
    assert "20 branches" in failed.error
    assert "ASYNCENGINE_MAX_RESULT_BYTES allows 10,000" in failed.error
    totals = FlowTotals.objects.get()
    assert (totals.accepted, totals.completed, totals.failed) == (2, 1, 1)
    assert at_rest()


def test_what_a_join_would_get_has_the_same_bound(settings):
    settings.ASYNCENGINE_MAX_RESULT_BYTES = 10_000
    flow = make_flow(codes=[SPLIT, LARGE, SUM])
    Step.objects.filter(name="flow-2").update(join=True)
    fitting, too_large = start(8), start(20)

    work_until_idle(flow)

    assert run_of(fitting.pk).result == "8"
    assert run_of(too_large.pk).status == Run.Status.FAILED
    assert "MAX_RESULT_BYTES" in run_of(too_large.pk).error
    assert at_rest()


def test_outputs_that_are_too_large_are_never_read(settings, monkeypatch):
    settings.ASYNCENGINE_MAX_RESULT_BYTES = 10_000
    flow = make_flow(codes=[SPLIT, LARGE])
    start(20)
    database = type(store().database)
    query, read = database.query, []

    def noting(self, statement, params=()):
        read.append(statement)
        return query(self, statement, params)

    monkeypatch.setattr(database, "query", noting)

    work_until_idle(flow)

    assert sql.BRANCH_ENDS not in read


def test_a_single_result_that_is_too_large_is_a_dead_letter(settings):
    settings.ASYNCENGINE_MAX_RESULT_BYTES = 1000
    flow = make_flow(codes=[LARGE])
    run = start(1)

    work_until_idle(flow)

    dead = DeadLetter.objects.get(run=run)
    assert dead.reason == DeadLetter.Reason.TOO_LARGE
    assert "MAX_RESULT_BYTES allows 1,000" in dead.error
    settings.ASYNCENGINE_MAX_RESULT_BYTES = 2000
    engine.reprocess(dead)
    work_until_idle(flow)
    assert run_of(run.pk).status == Run.Status.COMPLETED
