"""Priority, delay, pause, cancel, limits, dead letters: what operators do to messages."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from flows import engine
from flows.errors import AlreadyReprocessed, OptionInvalid
from flows.models import (
    Consumer,
    DeadLetter,
    Flow,
    FlowTotals,
    Message,
    Queue,
    QueueState,
    Run,
    StepRun,
)
from flows.monitoring.run_story import run_story
from flows.monitoring.trace import trace
from flows.monitoring.wait_reason import why_queue
from flows.store import store
from flows.store.rate_limit import RateLimit
from flows.worker.redelivery import in_commit
from flows.worker.results import released
from flows.worker.this_worker import this_worker
from flows.worker.worker import Worker
from scripts.models import Script
from scripts.protocol.flow_state import SET, Change, StateChanges, new_version
from tests.builders import (
    ECHO,
    RAISING,
    TRAIL,
    counters,
    make_flow,
    open_lease,
    run_of,
    work,
    work_until_idle,
)
from tests.integration.deliveries import passed
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db

REJECT = "def run(message, context):\n    raise Reject('no')\n"
SLEEPS = "import time\n\n\ndef run(message, context):\n    time.sleep(600)\n    return message\n"


def order_of_execution() -> list[int]:
    import json

    runs = StepRun.objects.order_by("started_at", "id").values_list("run__result", flat=True)
    return [json.loads(result)["payload"]["n"] for result in runs]


def test_messages_of_a_higher_priority_go_first():
    flow = make_flow(codes=[ECHO], threads=1)
    for n, priority in enumerate([0, 4, 9, 4]):
        engine.start("flow", {"n": n}, priority=priority)

    work_until_idle(flow)

    assert order_of_execution() == [2, 1, 3, 0]


@pytest.mark.parametrize("priority", [-1, 10])
def test_a_priority_beyond_0_to_9_is_refused(priority):
    make_flow()

    with pytest.raises(OptionInvalid):
        engine.start("flow", {}, priority=priority)


def test_a_delayed_start_waits_for_its_time():
    flow = make_flow(codes=[ECHO])
    started = engine.start("flow", {}, start_at=timezone.now() + timedelta(hours=1))

    work_until_idle(flow)
    assert run_of(started.correlation_id).status == Run.Status.QUEUED

    Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))
    work_until_idle(flow)
    assert run_of(started.correlation_id).status == Run.Status.COMPLETED


def test_a_delayed_message_of_high_priority_keeps_no_other_waiting():
    flow = make_flow(codes=[ECHO])
    engine.start("flow", {"n": 0}, priority=9, start_at=timezone.now() + timedelta(hours=1))
    ready = engine.start("flow", {"n": 1}, priority=0)

    work_until_idle(flow)

    assert run_of(ready.correlation_id).status == Run.Status.COMPLETED


def test_a_waiting_run_is_cancelled_at_once():
    make_flow()
    user = User.objects.create_user("operator")
    started = engine.start("flow", {})

    run = engine.cancel(run_of(started.correlation_id), user=user)

    assert run.status == Run.Status.CANCELLED
    assert run.cancelled_by == user
    assert run.finished_at is not None
    assert not Message.objects.exists()
    assert counters("flow-0") == (0, 0)


def test_cancelling_twice_or_after_the_end_changes_nothing():
    make_flow(codes=[ECHO])
    waiting, completed = (run_of(engine.start("flow", {}).correlation_id) for _ in range(2))
    engine.cancel(waiting)
    finished_at = run_of(waiting.pk).finished_at
    work("flow-0")

    engine.cancel(waiting)
    engine.cancel(completed)

    assert run_of(waiting.pk).finished_at == finished_at
    assert run_of(completed.pk).status == Run.Status.COMPLETED
    assert FlowTotals.objects.get().cancelled == 1


def test_a_running_script_of_a_cancelled_run_is_stopped():
    make_flow(codes=[SLEEPS, ECHO])
    Script.objects.update(timeout=timedelta(seconds=600))
    started = engine.start("flow", {})
    pk = store().open_consumer(Queue.objects.get(name="flow-0").pk, 1, "cluster", "machine")
    assert pk
    worker = Worker(this_worker.hosts(), "cluster")
    worker.begin(pk)
    [session] = worker.sessions

    run = engine.cancel(run_of(started.correlation_id))

    def is_over():
        worker._collect()
        session.go_on(claim=True)
        return session.lease.closed

    wait_for(is_over)
    assert run.status == Run.Status.CANCELLED
    assert run_of(run.pk).status == Run.Status.CANCELLED
    assert not Message.objects.exists()
    assert set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}
    assert StepRun.objects.get().outcome == StepRun.Outcome.CANCELLED


def test_a_message_that_is_done_when_its_run_is_cancelled_goes_no_further():
    make_flow(codes=[ECHO, ECHO])
    started = engine.start("flow", {})
    pk = store().open_consumer(Queue.objects.get(name="flow-0").pk, 1, "cluster", "machine")
    assert pk
    worker = Worker(this_worker.hosts(), "cluster")
    worker.begin(pk)
    [session] = worker.sessions
    while not session.done:
        worker._collect()

    engine.cancel(run_of(started.correlation_id))
    session.go_on(claim=True)

    assert session.lease.closed
    assert not Message.objects.exists()
    assert run_of(started.correlation_id).status == Run.Status.CANCELLED
    assert set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}


def test_a_cancelled_message_of_a_dead_worker_does_not_come_back():
    make_flow(codes=[ECHO, ECHO])
    started = engine.start("flow", {})
    assert store().claim(open_lease("flow-0"), lambda plan, threads: threads)
    engine.cancel(run_of(started.correlation_id))

    store().reap("machine", lambda pid: False, timedelta(seconds=10), timedelta(seconds=3))

    assert not Message.objects.exists()
    assert not Consumer.objects.exists()
    assert set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}


def test_a_paused_flow_accepts_starts_and_hands_out_nothing_until_it_is_resumed():
    flow = make_flow()
    user = User.objects.create_user("operator")
    engine.pause(flow, user=user)
    started = engine.start("flow", {})

    work_until_idle(flow)
    assert run_of(started.correlation_id).status == Run.Status.QUEUED
    assert Flow.objects.get().paused_by == user

    engine.resume(flow)
    work_until_idle(flow)
    assert run_of(started.correlation_id).status == Run.Status.COMPLETED


def test_pausing_twice_keeps_who_paused_first():
    queue = make_flow().steps.first().queue
    first, second = (User.objects.create_user(name) for name in ("first", "second"))

    engine.pause(queue, user=first)
    engine.pause(queue, user=second)

    assert Queue.objects.get(pk=queue.pk).paused_by == first


def test_one_chosen_message_bypasses_the_pause_of_its_flow_to_its_end():
    flow = make_flow()
    engine.pause(flow)
    ids = [engine.start("flow", {"n": n}).correlation_id for n in range(3)]

    assert engine.bypass_pause(run_of(ids[1]))
    work_until_idle(flow)

    assert [run_of(id).status for id in ids] == ["QUEUED", "COMPLETED", "QUEUED"]


def test_a_run_older_than_its_flow_allows_is_not_redelivered():
    flow = make_flow(codes=[RAISING])
    Flow.objects.update(max_age=timedelta(milliseconds=100))
    engine.start("flow", {})

    work_until_idle(flow)

    assert DeadLetter.objects.get().reason == DeadLetter.Reason.EXPIRED


def test_a_discarded_dead_letter_can_not_be_reprocessed():
    flow = make_flow(codes=[REJECT])
    engine.start("flow", {})
    work_until_idle(flow)
    dead = DeadLetter.objects.get()
    user = User.objects.create_user("operator")

    engine.discard(dead, user=user)

    dead.refresh_from_db()
    assert dead.discarded_by == user
    assert not DeadLetter.objects.open().exists()
    with pytest.raises(AlreadyReprocessed):
        engine.reprocess(dead)


def test_a_dead_letter_goes_on_with_the_repaired_script_if_asked():
    flow = make_flow(codes=[ECHO, REJECT])
    started = engine.start("flow", {})
    work_until_idle(flow)
    script = flow.steps.last().script
    script.code = TRAIL
    script.save()

    engine.reprocess(DeadLetter.objects.get(), newest_script=True)
    work_until_idle(flow)

    run = run_of(started.correlation_id)
    assert run.status == Run.Status.COMPLETED
    assert run.flow_version.number == 2


def test_steps_and_attempts_have_the_script_versions_that_they_ran(admin_client):
    flow = make_flow(codes=[ECHO, REJECT, ECHO])
    started = engine.start("flow", {})
    work_until_idle(flow)
    for code in (ECHO + "# 2\n", TRAIL):
        for step in flow.steps.all():
            step.script.code = code
            step.script.save()

    def versions() -> list[tuple[int, list[int]]]:
        steps = trace(run_of(started.correlation_id))["steps"]
        return [
            (each["scriptVersion"], [attempt["scriptVersion"] for attempt in each["attempts"]])
            for each in steps
        ]

    engine.reprocess(DeadLetter.objects.get(), newest_script=True)
    assert versions() == [(1, [1]), (3, [1]), (3, [])]
    work_until_idle(flow)

    assert versions() == [(1, [1]), (3, [1, 3]), (3, [3])]
    story = run_story(run_of(started.correlation_id))
    assert [each.script.number for each in story.steps] == [1, 3, 3]
    page = admin_client.get(f"/admin/flows/run/{started.correlation_id}/change/").content.decode()
    assert page.count(f"script {flow.steps.all()[1].script.name} v1,") == 1


def test_a_repaired_payload_keeps_the_additional_properties():
    extra = "def run(message, context):\n    message['extra'] = 7\n    return message\n"
    picky = (
        "def run(message, context):\n"
        "    if not message['payload']:\n"
        "        raise Reject('empty')\n"
        "    return message['extra']\n"
    )
    flow = make_flow(codes=[extra, picky])
    started = engine.start("flow", {})
    work_until_idle(flow)

    engine.reprocess(DeadLetter.objects.get(), payload={"a": 1})
    work_until_idle(flow)

    assert run_of(started.correlation_id).result == "7"


def test_a_rate_limit_lets_no_more_start_than_it_says():
    flow = make_flow(codes=[ECHO], threads=20, rate_count=5, rate_period=timedelta(seconds=60))
    engine.start_many("flow", [{"n": n} for n in range(12)])

    work_until_idle(flow)

    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 5
    assert Message.objects.filter(deliveries=0).count() == 7


def test_a_rate_limit_holds_for_messages_that_a_session_would_carry_on():
    flow = make_flow(codes=[ECHO, ECHO], threads=20)
    Queue.objects.filter(name="flow-1").update(rate_count=3, rate_period=timedelta(seconds=60))
    engine.start_many("flow", [{"n": n} for n in range(10)])

    work_until_idle(flow)

    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 3
    assert counters("flow-1") == (7, 0)


@pytest.mark.parametrize(("batch", "taken"), [(4, 4), (500, 62)])
def test_under_a_rate_limit_no_more_are_taken_than_start_within_their_reserved_time(batch, taken):
    make_flow(codes=[ECHO], threads=4, rate_count=10_000, rate_period=timedelta(seconds=3600))
    engine.start_many("flow", [{"n": n} for n in range(200)])
    lease = open_lease("flow-0")
    # Half of this is for scripts that run one after the other.
    lease.start_margin_seconds = 0.05

    held = store().claim(lease, lambda plan, threads: batch)

    assert len(held) == taken


def test_a_queue_whose_script_was_asked_to_wait_goes_on_with_one_message_at_a_time():
    busy = (
        "def run(message, context):\n"
        "    if message['payload']['n'] == 0:\n"
        "        raise Retry(after=30, reason='busy')\n"
        "    return message\n"
    )
    flow = make_flow(codes=[busy], threads=1)
    engine.start("flow", {"n": 0})
    work_until_idle(flow)
    assert QueueState.objects.get().slow_until is not None
    engine.start("flow", {"n": 1})

    work_until_idle(flow)

    assert QueueState.objects.get().slow_until is None
    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 1


def test_a_rate_limit_holds_where_the_script_was_asked_to_wait():
    busy = "def run(message, context):\n    raise Retry(after=30, reason='busy')\n"
    flow = make_flow(codes=[busy], rate_count=2, rate_period=timedelta(seconds=60))
    engine.start_many("flow", [{"n": n} for n in range(6)])

    work_until_idle(flow)

    assert StepRun.objects.count() == 2


@pytest.mark.parametrize(("has_run", "left"), [(True, 4), (False, 5)])
def test_a_start_counts_for_a_rate_limit_though_the_script_is_to_run_again(
    has_run: bool, left: int
):
    minute = timedelta(minutes=1)
    make_flow(codes=[ECHO], rate_count=5, rate_period=minute)
    engine.start("flow", {})
    lease = open_lease("flow-0")
    [held] = store().claim(lease, lambda plan, threads: 1)
    done = released(held)
    if has_run:
        # Others have changed what it has read.
        read = Change("count", SET, "2", seen=new_version())
        done = replace(passed(held), state=StateChanges((read,), new_version()))

    store().commit(lease, [done], in_commit, lambda plan, threads: 1, claim=False)

    assert Message.objects.get().deliveries == 0
    rate = RateLimit.read(5, minute, QueueState.objects.get().recent_starts)
    assert rate.allowance(store().database.now().timestamp()) == left


def test_the_books_of_a_flow_agree_with_its_rows():
    codes = [
        "def run(message, context):\n"
        "    if message['payload']['n'] % 4 == 0:\n"
        "        raise Reject('no')\n"
        "    return message\n"
    ]
    flow = make_flow(codes=codes)
    ids = engine.start_many("flow", [{"n": n} for n in range(20)])
    engine.cancel(run_of(ids[1]))
    work_until_idle(flow)
    engine.reprocess(DeadLetter.objects.first())

    totals = FlowTotals.objects.get(flow_name="flow")

    assert (totals.accepted, totals.completed, totals.failed, totals.cancelled) == (20, 14, 4, 1)
    assert Message.objects.count() == 1


def test_a_run_that_goes_on_under_its_flow_s_new_name_changes_books():
    flow = make_flow(codes=[REJECT])
    engine.start("flow", {})
    work_until_idle(flow)
    flow.name = "renamed"
    flow.save()

    engine.reprocess(DeadLetter.objects.get(), newest_script=True)

    totals = {t.flow_name: (t.accepted, t.failed) for t in FlowTotals.objects.all()}
    assert totals == {"flow": (0, 0), "renamed": (1, 0)}


def test_a_reason_of_a_pause_is_kept_until_it_is_resumed():
    flow = make_flow(codes=[ECHO])
    queue = flow.steps.get().queue

    engine.pause(queue, reason="The warehouse moves.")

    queue.refresh_from_db()
    assert queue.pause_reason == "The warehouse moves."
    engine.start(flow.name, {})
    assert "is paused" in why_queue(queue)
    assert "The warehouse moves." in why_queue(queue)
    engine.resume(queue)
    queue.refresh_from_db()
    assert queue.pause_reason == ""


def test_one_message_at_a_time_is_let_through_a_paused_queue():
    flow = make_flow(codes=[ECHO])
    queue = flow.steps.get().queue
    engine.pause(queue)
    first = engine.start(flow.name, {"n": 1}).correlation_id
    urgent = engine.start(flow.name, {"n": 2}, priority=9).correlation_id

    assert engine.let_one_through(queue) == urgent
    assert engine.let_one_through(queue) == first
    assert engine.let_one_through(queue) is None
    work_until_idle(flow)
    assert {run.status for run in Run.objects.all()} == {Run.Status.COMPLETED}
