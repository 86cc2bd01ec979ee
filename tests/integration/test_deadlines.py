"""Deadlines of runs: what has not ended by then is cancelled, whatever it is doing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from flows import engine
from flows.models import (
    AuditEntry,
    Consumer,
    DeadLetter,
    FlowTotals,
    Message,
    Run,
    RunDeadline,
    StepRun,
)
from flows.store import HeldMessage, store
from flows.tasks.deadlines import DeadlineWatch, cancel_overdue
from flows.worker.broker import QueueBroker
from flows.worker.session import Session
from flows.worker.this_worker import this_worker
from scripts.protocol.calls import Outcome
from tests.builders import (
    ECHO,
    RAISING,
    counters,
    make_callable,
    make_flow,
    open_lease,
    run_of,
    work,
)

pytestmark = pytest.mark.django_db

WAITS = "def run(message, context):\n    raise Wait(3600)\n"
HALF_FAILS = (
    "def run(message, context):\n"
    "    if message['payload']: raise Reject('no')\n"
    "    raise Wait(3600)\n"
)
LOGS = "def run(message, context):\n    context.log('ran')\n    return message\n"
SLEEPS = (
    "import time\n"
    "def run(message, context):\n"
    "    time.sleep(25)\n"
    "    context.log('slept')\n"
    "    return message\n"
)
STARTS_WITH_A_DEADLINE = (
    "def run(message, context):\n    context.start('flow', {}, deadline=3600)\n    return message\n"
)
FANS_OUT = (
    "def run(message, context):\n"
    "    one = message['correlationId']\n"
    "    return [{'correlationId': one, 'payload': {'n': n} if n else {}} for n in range(2)]\n"
)


def start(flow: str = "flow", **options: object) -> Run:
    """Start a run whose deadline is an hour from now."""
    started = engine.start(flow, {}, deadline=timedelta(hours=1), **options)
    return run_of(started.correlation_id)


def pass_deadlines() -> int:
    """Let all deadlines pass, and decide them; return how many runs that cancels."""
    RunDeadline.objects.update(at=store().database.now() - timedelta(seconds=1))
    return cancel_overdue()


def queued() -> Run:
    make_flow(codes=[ECHO])
    return start()


def delayed() -> Run:
    make_flow(codes=[ECHO])
    return start(start_at=store().database.now() + timedelta(minutes=30))


def paused() -> Run:
    make_flow(codes=[ECHO], paused=True)
    return start()


def backing_off() -> Run:
    make_flow(codes=[RAISING])
    run = start()
    work("flow-0")
    return run


def waiting_script() -> Run:
    make_flow(codes=[WAITS])
    run = start()
    work("flow-0")
    return run


def at_a_script() -> Run:
    make_flow(codes=[ECHO])
    run = start()
    store().claim(open_lease("flow-0"), lambda plan, threads: 1)
    assert Message.objects.get().consumer_id
    return run


def in_branches() -> Run:
    make_flow(codes=[FANS_OUT, WAITS])
    run = start()
    work("flow-0")
    work("flow-1")
    assert Message.objects.count() == 2
    return run


def with_a_dead_branch() -> Run:
    make_flow(codes=[FANS_OUT, HALF_FAILS])
    run = start()
    work("flow-0")
    work("flow-1")
    assert run_of(run.pk).status == Run.Status.FAILED
    return run


@pytest.mark.parametrize(
    "begin",
    [
        queued,
        delayed,
        paused,
        backing_off,
        waiting_script,
        at_a_script,
        in_branches,
        with_a_dead_branch,
    ],
)
def test_run_that_has_not_ended_is_cancelled_with_the_reason(begin: Callable[[], Run]):
    run = begin()
    assert cancel_overdue() == 0

    assert pass_deadlines() == 1

    run.refresh_from_db()
    deadline = RunDeadline.objects.get()
    assert run.status == Run.Status.CANCELLED
    assert run.error.startswith("The run had not ended by its deadline, 2")
    assert run.cancelled_by is None
    assert deadline.was_missed is True
    assert not Message.objects.exclude(queue=None).exists()
    assert not DeadLetter.objects.open().exists()
    assert FlowTotals.objects.get().cancelled == 1
    assert not AuditEntry.objects.filter(verb="cancel").exists()
    if begin is not at_a_script:
        assert counters("flow-0") == (0, 0)


def test_run_that_has_ended_by_its_deadline_stays_as_it_is():
    make_flow(codes=[ECHO])
    done, cancelled = start(), start()
    engine.cancel(cancelled)
    work("flow-0")
    finished = dict(Run.objects.values_list("pk", "finished_at"))

    assert pass_deadlines() == 0

    assert run_of(done.pk).status == Run.Status.COMPLETED
    assert run_of(cancelled.pk).error == ""
    assert dict(Run.objects.values_list("pk", "finished_at")) == finished
    assert set(RunDeadline.objects.values_list("was_missed", flat=True)) == {False}


def test_failed_run_with_an_open_dead_letter_has_ended():
    make_flow(codes=[RAISING], max_deliveries=1)
    run = start()
    work("flow-0")

    assert pass_deadlines() == 0

    assert run_of(run.pk).status == Run.Status.FAILED
    assert DeadLetter.objects.open().count() == 1


def test_deadlines_are_decided_once_in_batches_and_those_that_are_left_later(monkeypatch):
    monkeypatch.setattr("flows.tasks.deadlines.BATCH", 2)
    make_flow(codes=[ECHO])
    for _ in range(5):
        start()

    RunDeadline.objects.update(at=store().database.now() - timedelta(seconds=1))

    assert cancel_overdue(budget_seconds=0.0) == 0
    assert cancel_overdue() == 5
    assert cancel_overdue() == 0
    assert Run.objects.filter(status=Run.Status.CANCELLED).count() == 5


def test_deadline_of_a_run_that_is_gone_is_decided_too():
    make_flow(codes=[ECHO])
    run = start()
    engine.cancel(run)
    Run.objects.filter(pk=run.pk)._raw_delete("default")

    assert pass_deadlines() == 0
    assert RunDeadline.objects.get().was_missed is False


def test_broker_queues_one_task_when_a_deadline_has_passed(monkeypatch):
    make_flow(codes=[ECHO], paused=True)
    start()
    watch = DeadlineWatch()
    assert not watch.look()

    RunDeadline.objects.update(at=store().database.now() - timedelta(seconds=1))
    broker = QueueBroker()
    broker.deadlines = watch
    broker._reap_now_and_then()
    assert not watch.look()

    [task] = OrmQ.objects.all()
    assert SignedPackage.loads(task.payload)["func"] == "flows.tasks.deadlines.cancel_overdue"
    # A task that is lost is queued again after a while.
    monkeypatch.setattr("flows.tasks.deadlines.AGAIN_SECONDS", 0.0)
    assert watch.look()


def let_deadlines_pass() -> None:
    RunDeadline.objects.update(at=store().database.now() - timedelta(seconds=1))


def assert_cancelled_at_its_deadline(run: Run) -> None:
    run.refresh_from_db()
    assert run.status == Run.Status.CANCELLED
    assert run.error.startswith("The run had not ended by its deadline, 2")
    assert RunDeadline.objects.get(pk=run.pk).was_missed is True
    assert not Message.objects.filter(run=run).exists()


def test_no_script_begins_behind_the_deadline_of_its_run():
    make_flow(codes=[LOGS])
    late, other = start(), engine.start("flow", {}).correlation_id
    let_deadlines_pass()

    work("flow-0")

    assert_cancelled_at_its_deadline(late)
    assert set(StepRun.objects.filter(run=late).values_list("outcome", "logs")) == {
        (StepRun.Outcome.CANCELLED, "")
    }
    assert run_of(other).status == Run.Status.COMPLETED
    assert counters("flow-0") == (0, 0)


def test_run_cancelled_before_its_script_begins_takes_no_start_of_a_rate():
    make_flow(codes=[ECHO], rate_count=1, rate_period=timedelta(hours=1))
    late, other = start(), engine.start("flow", {}).correlation_id
    let_deadlines_pass()

    work("flow-0")

    assert_cancelled_at_its_deadline(late)
    assert run_of(other).status == Run.Status.COMPLETED


@pytest.mark.parametrize("codes", [[ECHO], [ECHO, ECHO], [RAISING], [WAITS], [FANS_OUT, ECHO]])
def test_no_outcome_is_stored_that_comes_behind_the_deadline(codes, monkeypatch):
    make_flow(codes=codes, max_deliveries=1)
    late, other = start(), engine.start("flow", {}).correlation_id
    finish = Session.finish

    def finish_late(session: Session, held_id: str, outcome: Outcome) -> None:
        let_deadlines_pass()
        finish(session, held_id, outcome)

    monkeypatch.setattr(Session, "finish", finish_late)
    work("flow-0")

    assert_cancelled_at_its_deadline(late)
    assert not DeadLetter.objects.filter(run=late).exists()
    assert StepRun.objects.filter(run=late).count() == 1
    assert run_of(other).status != Run.Status.CANCELLED
    assert counters("flow-0") in {(0, 0), (1, 0)}


def test_script_that_runs_is_stopped_at_the_deadline_without_a_task(monkeypatch):
    make_flow(codes=[SLEEPS])
    late = start()
    submit = Session._submit

    def submit_and_pass(session: Session, taken: list[HeldMessage]) -> None:
        submit(session, taken)
        let_deadlines_pass()

    monkeypatch.setattr(Session, "_submit", submit_and_pass)
    work("flow-0")

    assert_cancelled_at_its_deadline(late)
    [attempt] = StepRun.objects.filter(run=late)
    assert (attempt.outcome, "slept" in attempt.logs) == (StepRun.Outcome.CANCELLED, False)


def test_worker_that_cancels_runs_renews_all_its_leases(monkeypatch):
    monkeypatch.setattr("flows.worker.session.HEARTBEAT_SECONDS", 0.0)
    make_flow(codes=[ECHO])
    make_flow("other", codes=[ECHO])
    late = start()
    let_deadlines_pass()
    session, beside = Session(open_lease("flow-0"), this_worker.hosts()), open_lease("other-0")
    session.leases_beside = lambda: [beside]
    quiet = Consumer.objects.filter(pk=beside.consumer_id)
    quiet.update(heartbeat_at=store().database.now() - timedelta(seconds=9))

    session.go_on(claim=True)

    assert run_of(late.pk).status == Run.Status.CANCELLED
    assert quiet.get().heartbeat_at > store().database.now() - timedelta(seconds=8)


def test_callable_does_not_run_within_a_commit_behind_the_deadline():
    make_flow(codes=["builtins.dict"])
    make_callable("builtins.dict", in_transaction=True)
    late = start()
    let_deadlines_pass()

    work("flow-0")

    assert_cancelled_at_its_deadline(late)


@pytest.mark.django_db(transaction=True)
def test_run_that_a_script_starts_keeps_its_deadline():
    make_flow(codes=[ECHO])
    flow = make_flow("parent", codes=[STARTS_WITH_A_DEADLINE])
    flow.may_start = ["flow"]
    flow.save()
    parent = engine.start("parent", {}).correlation_id
    work("parent-0")
    [child] = Run.objects.filter(parent=parent)
    let_deadlines_pass()

    work("flow-0")

    assert_cancelled_at_its_deadline(child)


@pytest.mark.parametrize("has_callback", [False, True])
def test_runs_without_a_deadline_cost_no_look_at_deadlines(has_callback):
    make_flow(codes=[ECHO])
    url = "https://shop.example.org/" if has_callback else None
    engine.start("flow", {}, callback_url=url)

    with CaptureQueriesContext(connection) as queries:
        work("flow-0")

    assert Run.objects.get().status == Run.Status.COMPLETED
    assert not [each for each in queries if "flows_rundeadline" in each["sql"]]
