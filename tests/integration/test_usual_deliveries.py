"""What ends as usual is stored by the step; beside it in the same commit, the rest one by one."""

import json
from dataclasses import replace

import pytest

from flows import engine
from flows.errors import LeaseLost
from flows.models import DeadLetter, FlowTotals, Message, Queue, QueueState, Run, StepRun
from flows.store import store
from flows.worker.redelivery import in_commit
from tests.builders import ECHO, make_flow, open_lease, run_of, work, work_until_idle
from tests.integration.deliveries import passed

pytestmark = pytest.mark.django_db

MIXED = """def run(message, context):
    n = message["payload"]["n"]
    if n % 5 == 1:
        context.log("one", n)
    if n % 5 == 2:
        raise ValueError(n)
    if n % 5 == 3:
        return context.finish({"ended": n})
    if n % 5 == 4:
        return {"payload": message["payload"]}
    return message
"""


def test_a_commit_stores_the_usual_deliveries_and_all_others():
    flow = make_flow(codes=[MIXED, ECHO], max_deliveries=1)
    ids = engine.start_many("flow", [{"n": n} for n in range(60)])

    work_until_idle(flow)

    by_status = {status: Run.objects.filter(status=status).count() for status in Run.Status}
    assert {status: count for status, count in by_status.items() if count} == {
        Run.Status.COMPLETED: 48,
        Run.Status.FAILED: 12,
    }
    for n, run_id in enumerate(ids):
        run = run_of(run_id)
        attempts = [(a.step.name, a.outcome, bool(a.logs)) for a in run.step_runs.order_by("id")]
        usual = [("flow-0", "COMPLETED", n % 5 == 1), ("flow-1", "COMPLETED", False)]
        if n % 5 == 2:
            assert attempts == [("flow-0", "FAILED", False)]
            assert DeadLetter.objects.get(run=run).error.startswith(f"ValueError: {n}")
        elif n % 5 == 3:
            assert attempts == usual[:1]
            assert json.loads(run.result) == {"ended": n}
        else:
            assert attempts == usual
            assert json.loads(run.result)["payload"] == {"n": n}
        assert run.warnings == (n % 5 == 4)
        kept = [json.loads(a.input)["payload"] for a in run.step_runs.exclude(input=None)]
        assert kept == [{"n": n}] * (0 if n % 5 == 2 else len(attempts))
    assert not Message.objects.exists()
    assert set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}
    totals = FlowTotals.objects.get()
    assert (totals.completed, totals.failed, totals.letters_made) == (48, 12, 12)


def test_usual_deliveries_die_where_the_next_queue_is_gone():
    flow = make_flow(codes=[ECHO, ECHO])
    ids = engine.start_many("flow", [{"n": n} for n in range(3)])
    lease = open_lease("flow-0")
    held = store().claim(lease, lambda plan, threads: 3)
    flow.steps.get(position=1).delete()
    Queue.objects.get(name="flow-1").delete()

    store().commit(lease, [passed(h) for h in held], in_commit, lambda plan, threads: 3)

    assert set(DeadLetter.objects.values_list("run", "reason")) == {
        (run_id, DeadLetter.Reason.NO_QUEUE) for run_id in ids
    }
    assert set(Run.objects.values_list("status", flat=True)) == {Run.Status.FAILED}
    outcomes = StepRun.objects.values_list("run", "outcome")
    assert sorted(outcomes) == sorted((run_id, "COMPLETED") for run_id in ids)
    assert set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}


def test_each_delivery_has_one_attempt_where_a_run_is_cancelled_meanwhile():
    make_flow("flow", codes=[ECHO, ECHO])
    ids = engine.start_many("flow", [{"n": n} for n in range(3)])
    lease = open_lease("flow-0")
    held = store().claim(lease, lambda plan, threads: 3)
    engine.cancel(run_of(held[0].run_id))

    while held:
        results = [passed(h) for h in held]
        held = store().commit(lease, results, in_commit, lambda plan, threads: 3)

    runs = [run_of(run_id) for run_id in ids]
    attempts = [(run.status, run.step_runs.count()) for run in runs]
    assert sorted(attempts) == [("CANCELLED", 1), ("COMPLETED", 2), ("COMPLETED", 2)]
    assert set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}


def test_no_attempt_is_left_of_a_session_whose_lease_has_ended():
    make_flow("flow", codes=[ECHO, ECHO])
    engine.start_many("flow", [{"n": n} for n in range(3)])
    lease = open_lease("flow-0")
    held = store().claim(lease, lambda plan, threads: 3)
    store().close(replace(lease))

    with pytest.raises(LeaseLost):
        store().commit(lease, [passed(h) for h in held], in_commit, lambda plan, threads: 3)

    assert not StepRun.objects.exists()


def test_inputs_that_are_too_long_are_kept_in_part_beside_short_ones(settings):
    settings.ASYNCENGINE_MAX_KEPT_BYTES = 200
    make_flow(codes=[ECHO])
    texts = ["x", "y" * 1000, "é" * 60, "z"]
    ids = engine.start_many("flow", [{"text": text} for text in texts])

    work("flow-0")

    attempts = [StepRun.objects.get(run=run_id) for run_id in ids]
    for text, attempt, run_id in zip(texts, attempts, ids, strict=True):
        whole = f'{{"correlationId":"{run_id}","payload":{{"text":"{text}"}}}}'
        assert whole.startswith(attempt.input)
        assert len(attempt.input.encode()) <= 200
        is_cut = len(whole.encode()) > 200
        assert attempt.input_bytes == (len(whole.encode()) if is_cut else None)
        assert is_cut or attempt.input == whole
