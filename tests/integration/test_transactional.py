"""Callables in the transaction of the hand-over: what they write is stored with it, or not."""

import json
import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from flows import engine
from flows.models import (
    Consumer,
    DeadLetter,
    FlowState,
    Message,
    Queue,
    QueueState,
    Run,
    StepRun,
)
from flows.monitoring.conservation import check
from flows.store import Store, store
from flows.worker import transactional
from tests.builders import (
    ECHO,
    TRAIL,
    make_callable,
    make_flow,
    open_lease,
    run_of,
    work,
    work_until_idle,
)
from tests.callables import noted
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)

in_memory = pytest.mark.skipif(
    "connection.vendor == 'sqlite'", reason="closing the connection would empty SQLite's memory"
)


@pytest.fixture(autouse=True)
def allowed(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.callables"]


def make_recording_flow(codes=(None,), **queue):
    """Make a flow whose steps without a code record in the transaction."""
    flow = make_flow(codes=[code or "tests.callables.record" for code in codes], **queue)
    make_callable("tests.callables.record", in_transaction=True)
    return flow


def all_counters():
    return set(QueueState.objects.values_list("depth", "reserved"))


def recorded(ids, *steps):
    return sorted(f"{id}/{step} {step}" for id in ids for step in steps)


def test_what_it_writes_is_there_with_the_hand_over():
    flow = make_recording_flow([TRAIL, None, ECHO])
    ids = engine.start_many("flow", [{"n": n} for n in range(30)])

    work_until_idle(flow)

    assert noted() == recorded(ids, "flow-1")
    for n, id in enumerate(ids):
        run = run_of(id)
        assert run.status == Run.Status.COMPLETED
        assert json.loads(run.result)["payload"] == {"n": n, "trail": ["flow-0", ["flow-1", 1]]}
    attempt = StepRun.objects.filter(step__name="flow-1").first()
    assert attempt.outcome == StepRun.Outcome.COMPLETED
    assert json.loads(attempt.logs)[0]["text"].startswith("recording")
    assert all_counters() == {(0, 0)}
    assert not Consumer.objects.exists()


@pytest.mark.parametrize(
    ("what", "outcome", "said"),
    [
        ("raise", "FAILED", "ValueError: no luck"),
        ("retry", "RETRY", "busy"),
        ("reject", "REJECTED", "not for us"),
        ("no message", "FAILED", "payload"),
    ],
)
def test_what_fails_takes_its_own_writes_back_alone(what, outcome, said):
    make_recording_flow([None, ECHO])
    first, _, last = engine.start_many("flow", [{}, {"do": what}, {}])

    work("flow-0")

    assert noted() == recorded([first, last], "flow-0")
    failed = StepRun.objects.exclude(outcome="COMPLETED").get()
    assert said in failed.error
    assert failed.outcome in (outcome, "REJECTED")
    assert json.loads(failed.logs)
    assert Message.objects.count() + DeadLetter.objects.count() == 1
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 2


def test_a_failure_is_redelivered_and_dead_lettered_like_any_other():
    make_recording_flow(max_deliveries=2, backoff_initial=timedelta(seconds=60))
    started = engine.start("flow", {"do": "raise"})

    began = timezone.now()
    work("flow-0")
    ended = timezone.now()
    due = Message.objects.get().available_at
    Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))
    work("flow-0")

    # A back-off is longer or shorter by a fifth at most.
    assert began + timedelta(seconds=45) < due < ended + timedelta(seconds=75)
    assert DeadLetter.objects.get().reason == DeadLetter.Reason.EXHAUSTED
    assert run_of(started.correlation_id).status == Run.Status.FAILED
    assert noted() == []


def test_a_session_goes_on_however_long_its_functions_take(monkeypatch):
    monkeypatch.setattr("flows.worker.session.UNREAD_SECONDS", 0)
    make_recording_flow()
    ids = engine.start_many("flow", [{"n": n} for n in range(20)])

    work("flow-0", threads=4)

    assert noted() == recorded(ids, "flow-0")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("which", [1, 2])
def test_a_commit_in_doubt_neither_loses_nor_doubles_its_writes(monkeypatch, which, when):
    make_recording_flow([None, None])
    ids = engine.start_many("flow", [{"n": n} for n in range(5)])
    real, commits = Store.commit, iter(range(1, 100))

    def commit(store, *args):
        fault = when if next(commits) == which else None
        if fault == "before":
            # Within the transaction: what the functions have written is there and goes again.
            monkeypatch.setattr(store.counters, "add_to_totals", lose_connection)
        taken = real(store, *args)
        if fault == "after":
            lose_connection()
        return taken

    def lose_connection(*args):
        monkeypatch.undo()
        monkeypatch.setattr(Store, "commit", commit)
        raise OperationalError("the connection was lost")

    monkeypatch.setattr(Store, "commit", commit)
    work("flow-0")
    for name in ("flow-0", "flow-1"):
        while Message.objects.filter(queue__name=name).exists():
            work(name)

    assert noted() == recorded(ids, "flow-0", "flow-1")
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 5
    assert StepRun.objects.count() == 10
    assert all_counters() == {(0, 0)}


def test_a_lost_lease_leaves_nothing_of_what_it_would_write(monkeypatch):
    make_recording_flow()
    engine.start("flow", {})
    real = Store.commit

    def commit(store, lease, done, *args):
        if done:
            store.reap("machine", lambda pid: False, timedelta(), timedelta())
        return real(store, lease, done, *args)

    monkeypatch.setattr(Store, "commit", commit)
    work("flow-0")

    assert noted() == []
    assert not StepRun.objects.exists()


def test_a_cancelled_run_does_not_run_it(monkeypatch):
    make_recording_flow()
    started = engine.start("flow", {})
    real = Store.commit

    def commit(store, lease, done, *args):
        if done:
            engine.cancel(run_of(started.correlation_id))
        return real(store, lease, done, *args)

    monkeypatch.setattr(Store, "commit", commit)
    work("flow-0")

    assert noted() == []
    assert run_of(started.correlation_id).status == Run.Status.CANCELLED
    assert not Message.objects.exists()


def test_what_is_too_much_for_one_transaction_waits_uncounted_for_the_next(monkeypatch):
    make_recording_flow()
    ids = engine.start_many("flow", [{"n": n} for n in range(40)])
    monkeypatch.setattr(transactional, "TRANSACTION_SECONDS", 0.0005)

    while Message.objects.exists():
        work("flow-0")

    assert noted() == recorded(ids, "flow-0")
    assert set(StepRun.objects.values_list("delivery", "outcome")) == {(1, "COMPLETED")}


def test_a_worker_s_death_is_counted_only_where_one_alone_had_begun():
    make_recording_flow()
    engine.start_many("flow", [{}, {}])
    counted = []

    for _ in range(2):
        lease = open_lease("flow-0", threads=4)
        assert store().claim(lease, lambda plan, threads: threads)
        store().reap("machine", lambda pid: False, timedelta(), timedelta())
        counted.append(sorted(Message.objects.values_list("deliveries", flat=True)))

    # At first both were held, then one alone, for it was suspected.
    assert counted == [[0, 0], [0, 1]]


def test_a_rate_is_kept_and_used():
    make_recording_flow(rate_count=10, rate_period=timedelta(seconds=0.5))
    ids = engine.start_many("flow", [{"do": "sleep", "seconds": 0.02}] * 25)

    until = time.monotonic() + PATIENCE
    while Message.objects.exists() and time.monotonic() < until:
        work("flow-0")

    assert noted() == recorded(ids, "flow-0")
    starts = sorted(StepRun.objects.values_list("started_at", flat=True))
    assert len(starts) == 25
    for first, eleventh in zip(starts, starts[10:], strict=False):
        assert eleventh - first >= timedelta(seconds=0.5)


def test_its_hooks_run_after_the_commit_and_harm_nothing():
    flow = make_recording_flow([None, None])
    ids = engine.start_many("flow", [{"on_commit": "raise"}, {"on_commit": "note"}])

    work_until_idle(flow)

    assert noted() == sorted([*recorded(ids, "flow-0", "flow-1"), "committed", "committed"])
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 2


def test_an_error_that_it_swallows_takes_its_writes_back_where_the_database_wants_that():
    make_recording_flow()
    one, other = engine.start_many("flow", [{"do": "swallow an error"}, {}])

    work("flow-0")

    if connection.vendor == "postgresql":
        assert noted() == recorded([other], "flow-0")
        assert "aborted" in StepRun.objects.get(run_id=one).error
    else:
        assert noted() == recorded([one, other], "flow-0")


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("fan out", DeadLetter.Reason.TOO_MANY),
        ("give too much", DeadLetter.Reason.TOO_LARGE),
        ("nothing", DeadLetter.Reason.NO_QUEUE),
    ],
)
def test_what_does_not_go_on_takes_its_own_writes_back_alone(settings, what, reason):
    settings.ASYNCENGINE_MAX_RESULT_BYTES = 1000
    flow = make_recording_flow([None] if what == "give too much" else [None, ECHO], size=3)
    first, dying, last = engine.start_many("flow", [{}, {"do": what}, {}])
    if what == "nothing":
        flow.steps.get(position=1).delete()
        Queue.objects.get(name="flow-1").delete()

    work("flow-0")

    going_on = [] if what == "nothing" else [first, last]
    assert noted() == recorded(going_on, "flow-0")
    letters = dict(DeadLetter.objects.values_list("run", "reason"))
    assert letters[dying] == reason
    assert len(letters) == 3 - len(going_on)
    assert json.loads(StepRun.objects.get(run=dying).logs)
    assert [fault for checked in check() for fault in checked.faults()] == []


def test_what_the_database_refuses_at_the_commit_fails_alone():
    """Django's foreign keys are looked at when a transaction ends."""
    make_recording_flow([None, ECHO], backoff_initial=timedelta(seconds=60))
    work("flow-0")
    engine.start("flow", {})
    work("flow-0")
    ids = engine.start_many("flow", [{}, {"do": "break a constraint"}, {}])

    for _ in range(5):
        work("flow-0")
        work("flow-1")

    failed = StepRun.objects.get(outcome="FAILED")
    assert failed.run_id == ids[1]
    assert "IntegrityError" in failed.error
    assert Message.objects.get().run_id == ids[1]
    assert len(noted()) == 3
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 3


def test_what_the_database_refuses_at_the_commit_leaves_the_state_as_it_was():
    make_recording_flow(max_deliveries=3, backoff_initial=timedelta(seconds=60))
    engine.start("flow", {"counts": True, "do": "break a constraint"})

    work("flow-0")

    assert "IntegrityError" in StepRun.objects.get(outcome="FAILED").error
    assert Message.objects.get().deliveries == 1
    assert not FlowState.objects.exists()


@in_memory
@pytest.mark.parametrize(
    ("what", "said"), [("close", "closed the connection"), ("spin", "time limit of 1 s")]
)
def test_one_that_spoils_the_transaction_fails_alone(what, said):
    flow = make_recording_flow([None, ECHO], backoff_initial=timedelta(seconds=60))
    script = flow.steps.first().script
    # The others have it, too.
    script.timeout = timedelta(seconds=1)
    script.save()
    first, spoiler, last = engine.start_many("flow", [{}, {"do": what}, {}])

    work_until_idle(flow)

    assert noted() == recorded([first, last], "flow-0")
    failed = StepRun.objects.get(outcome="FAILED")
    assert failed.run_id == spoiler
    assert said in failed.error
    assert Message.objects.get().run_id == spoiler
