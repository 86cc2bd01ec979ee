import json
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from flows import engine
from flows.errors import AlreadyReprocessed
from flows.models import Consumer, DeadLetter, Message, Queue, QueueState, Run, Step, StepRun
from flows.store import store
from flows.worker.redelivery import in_commit
from flows.worker.results import released
from flows.worker.session import Session
from flows.worker.this_worker import this_worker
from flows.worker.worker import Worker, consume
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
from tests.integration.deliveries import taken_in_turn

pytestmark = pytest.mark.django_db


def make_due() -> None:
    """Let every redelivery be due now."""
    Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))


def all_counters() -> set[tuple[int, int]]:
    return set(QueueState.objects.values_list("depth", "reserved"))


def test_a_run_goes_through_its_steps_in_order_in_one_session():
    make_flow()
    started = engine.start("flow", {"n": 1})

    work("flow-0")

    run = run_of(started.correlation_id)
    assert run.status == Run.Status.COMPLETED
    assert json.loads(run.result)["payload"] == {"n": 1, "trail": ["flow-0", "flow-1", "flow-2"]}
    assert [s.step.name for s in run.step_runs.all()] == ["flow-0", "flow-1", "flow-2"]
    assert run.created_at <= run.started_at <= run.finished_at
    assert not Consumer.objects.exists()
    assert not Message.objects.exists()
    assert all_counters() == {(0, 0)}


def test_a_thousand_runs_are_each_executed_once_per_step():
    flow = make_flow()
    ids = engine.start_many("flow", [{"n": n} for n in range(1000)])

    work_until_idle(flow)

    assert Run.objects.filter(pk__in=ids, status=Run.Status.COMPLETED).count() == 1000
    assert StepRun.objects.count() == 3000
    assert all_counters() == {(0, 0)}


def assert_waits(seconds: float, began: datetime, ended: datetime) -> None:
    """Check when the message is available, whose attempt ended between two moments."""
    last = Message.objects.get().available_at - timedelta(seconds=seconds)
    # Databases may round to milliseconds.
    assert began - timedelta(seconds=0.01) <= last <= ended + timedelta(seconds=0.01)


def test_a_failure_is_redelivered_after_its_back_off():
    make_flow(codes=[RAISING], backoff_initial=timedelta(seconds=60), backoff_jitter=0)
    started = engine.start("flow", {})

    began = timezone.now()
    work("flow-0")
    ended = timezone.now()

    message = Message.objects.get()
    assert_waits(60, began, ended)
    assert message.deliveries == 1
    assert message.queue.name == "flow-0"
    assert run_of(started.correlation_id).status == Run.Status.RUNNING
    assert counters("flow-0") == (1, 0)


def test_the_last_delivery_ends_in_a_dead_letter_with_all_that_is_known():
    make_flow(codes=[TRAIL, RAISING], max_deliveries=3)
    started = engine.start("flow", {"n": 5})

    work("flow-0")
    for _ in range(2):
        make_due()
        work("flow-1")

    dead = DeadLetter.objects.get()
    run = run_of(started.correlation_id)
    assert run.status == Run.Status.FAILED
    assert "ValueError: no luck" in run.error
    assert (dead.run, dead.step.name, dead.step.queue_name) == (run, "flow-1", "flow-1")
    assert dead.reason == DeadLetter.Reason.EXHAUSTED
    assert dead.deliveries == 3
    assert "ValueError: no luck" in dead.error
    assert "line 2" in dead.error
    assert json.loads(dead.body)["payload"] == {"n": 5, "trail": ["flow-0"]}
    assert [s.outcome for s in run.step_runs.all()] == ["COMPLETED", "FAILED", "FAILED", "FAILED"]
    assert not Message.objects.exists()
    assert all_counters() == {(0, 0)}


def test_a_rejected_message_is_a_dead_letter_at_once():
    make_flow(codes=["def run(message, context):\n    raise Reject('not for us')\n"])
    started = engine.start("flow", {})

    work("flow-0")

    dead = DeadLetter.objects.get()
    assert dead.reason == DeadLetter.Reason.REJECTED
    assert dead.deliveries == 1
    assert "not for us" in run_of(started.correlation_id).error


def test_a_script_may_say_when_it_wants_the_message_again():
    make_flow(codes=["def run(message, context):\n    raise Retry(after=90, reason='busy')\n"])
    engine.start("flow", {})

    began = timezone.now()
    work("flow-0")
    ended = timezone.now()

    assert_waits(90, began, ended)
    assert "busy" in StepRun.objects.get().error


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("return {'correlationId': 'x', 'payload': {}}", "correlationId"),
        ("return {'a': 1}", "payload"),
        ("return [1]", "object"),
        ("return None", "None"),
    ],
)
def test_an_output_that_is_no_message_is_not_retried(code, named):
    make_flow(codes=[f"def run(message, context):\n    {code}\n", ECHO])
    engine.start("flow", {})

    work("flow-0")

    dead = DeadLetter.objects.get()
    assert dead.reason == DeadLetter.Reason.INVALID
    assert named in dead.error


@pytest.mark.parametrize(("position", "field"), [(0, "output_schema"), (1, "input_schema")])
def test_a_payload_that_does_not_match_is_not_retried_and_names_its_fields(position, field):
    flow = make_flow(codes=[ECHO, ECHO])
    script = flow.steps.get(position=position).script
    setattr(script, field, {"properties": {"n": {"type": "string"}}, "required": ["m"]})
    script.save()
    engine.start("flow", {"n": 1})

    work_until_idle(flow)

    dead = DeadLetter.objects.get()
    assert (dead.step.name, dead.reason, dead.deliveries) == (
        f"flow-{position}",
        DeadLetter.Reason.INVALID,
        1,
    )
    assert '$.payload.n: 1 is not of type "string"' in dead.error
    assert '$.payload: "m" is a required property' in dead.error


def test_an_output_without_correlation_id_gets_it_back_and_a_warning():
    make_flow(codes=["def run(message, context):\n    return {'payload': {'x': 1}}\n", ECHO])
    started = engine.start("flow", {})

    work("flow-0")

    run = run_of(started.correlation_id)
    assert run.status == Run.Status.COMPLETED
    assert run.warnings == 1
    assert json.loads(run.result)["correlationId"] == str(started.correlation_id)


def test_additional_properties_travel_on_and_the_result_may_be_any_json():
    codes = [
        "def run(message, context):\n    message['extra'] = [1]\n    return message\n",
        "def run(message, context):\n    return message['extra']\n",
    ]
    make_flow(codes=codes)
    started = engine.start("flow", {})

    work("flow-0")

    assert run_of(started.correlation_id).result == "[1]"


def test_reprocessing_resumes_at_the_failed_step_with_a_repaired_payload():
    code = (
        "def run(message, context):\n"
        "    if 'fixed' not in message['payload']:\n"
        "        raise Reject('broken')\n"
        "    return message\n"
    )
    make_flow(codes=[TRAIL, code])
    started = engine.start("flow", {})
    work("flow-0")
    dead = DeadLetter.objects.get()

    engine.reprocess(dead, payload={"fixed": True})
    work("flow-1")

    run = run_of(started.correlation_id)
    assert run.status == Run.Status.COMPLETED
    assert json.loads(run.result)["payload"] == {"fixed": True}
    assert run.error == ""
    assert run.step_runs.filter(step__name="flow-0").count() == 1
    with pytest.raises(AlreadyReprocessed):
        engine.reprocess(dead)


def test_a_full_next_queue_holds_messages_back_without_spending_deliveries():
    flow = make_flow(codes=[ECHO, ECHO])
    Queue.objects.filter(name="flow-1").update(size=5, paused=True)
    engine.start_many("flow", [{"n": n} for n in range(20)])

    work("flow-0")

    assert counters("flow-1") == (5, 0)
    assert counters("flow-0") == (15, 0)
    assert set(Message.objects.values_list("deliveries", flat=True)) == {0}

    Queue.objects.filter(name="flow-1").update(paused=False)
    work_until_idle(flow)

    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 20
    assert all_counters() == {(0, 0)}


def test_a_paused_queue_hands_out_nothing():
    make_flow(paused=True)
    engine.start("flow", {})

    work("flow-0")

    assert Message.objects.get().queue.name == "flow-0"
    assert Message.objects.get().deliveries == 0


def test_threads_are_a_limit_over_all_consumers_of_a_queue():
    make_flow(threads=3)
    queue_id = Queue.objects.get(name="flow-0").pk

    first = store().open_consumer(queue_id, 2, "one", "h")
    second = store().open_consumer(queue_id, 2, "two", "h")
    third = store().open_consumer(queue_id, 2, "three", "h")

    assert [c.threads for c in Consumer.objects.order_by("id")] == [2, 1]
    assert first
    assert second
    assert third is None


def test_a_session_does_not_carry_messages_into_a_queue_whose_threads_are_taken():
    make_flow(codes=[ECHO, ECHO], threads=2)
    engine.start("flow", {})
    other = open_lease("flow-1", threads=2)

    work("flow-0")

    assert Message.objects.get().queue.name == "flow-1"
    store().close(other)
    work("flow-1")
    assert Run.objects.get().status == Run.Status.COMPLETED


def test_stale_worker_commits_nothing():
    make_flow()
    started = engine.start("flow", {})
    lease = open_lease("flow-0")
    worker = Worker(this_worker.hosts(), "cluster")
    worker.sessions = [session := Session(lease, this_worker.hosts())]
    session.go_on(claim=True)
    Consumer.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=1))

    store().reap("elsewhere", lambda pid: True, timedelta(seconds=10), timedelta(seconds=3))
    while session.running:
        worker._collect()
    session.go_on(claim=True)

    assert lease.closed
    assert not StepRun.objects.exists()
    assert Message.objects.get().queue.name == "flow-0"
    work("flow-0")
    assert run_of(started.correlation_id).step_runs.count() == 3


def test_a_message_that_came_too_late_to_its_script_keeps_its_place():
    make_flow(codes=[ECHO], threads=1)
    first = engine.start("flow", {}).correlation_id
    lease = open_lease("flow-0")
    [held] = store().claim(lease, lambda plan, threads: threads)
    later = engine.start("flow", {}).correlation_id

    returned = released(held)
    store().commit(lease, [returned], in_commit, lambda p, n: n, claim=False)

    assert taken_in_turn("flow-0") == [first, later]


def test_a_live_consumer_is_left_alone():
    make_flow()
    lease = open_lease("flow-0")

    store().reap("machine", lambda pid: True, timedelta(seconds=10), timedelta(seconds=3))

    assert Consumer.objects.filter(pk=lease.consumer_id).exists()


def test_a_consumer_that_no_worker_began_is_ended():
    make_flow()
    store().open_consumer(Queue.objects.get(name="flow-0").pk, 1, "c", "machine")
    Consumer.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=4))

    store().reap("machine", lambda pid: True, timedelta(seconds=10), timedelta(seconds=3))

    assert not Consumer.objects.exists()


def test_a_consumer_can_be_begun_once():
    make_flow()
    engine.start("flow", {})
    lease = open_lease("flow-0")

    consume(lease.consumer_id, "cluster")

    assert Message.objects.get().queue is not None


def test_a_running_message_keeps_the_script_version_it_started_with():
    flow = make_flow(codes=[ECHO, ECHO])
    started = engine.start("flow", {})
    script = flow.steps.last().script
    script.code = RAISING
    script.save()

    work_until_idle(flow)

    assert run_of(started.correlation_id).status == Run.Status.COMPLETED


def test_messages_of_different_flow_versions_in_one_queue_are_all_processed():
    flow = make_flow(codes=[ECHO, ECHO])
    script = flow.steps.first().script
    for n in range(4):
        engine.start_many("flow", [{"n": i} for i in range(5)])
        script.code = ECHO + f"# {n}\n"
        script.save()

    work_until_idle(flow)

    assert Run.objects.filter(status=Run.Status.COMPLETED).count() == 20
    assert all_counters() == {(0, 0)}


def test_logs_are_kept_with_the_step_run():
    make_flow(codes=["def run(message, context):\n    context.log('seen')\n    return message\n"])
    engine.start("flow", {})

    work("flow-0")

    [entry] = json.loads(StepRun.objects.get().logs)
    assert entry["text"] == "seen"
    assert entry["level"] == "info"


def test_a_session_follows_a_step_that_is_given_fewer_threads():
    make_flow(codes=[ECHO], threads=8)
    engine.start_many("flow", [{"n": n} for n in range(20)])
    lease = open_lease("flow-0", threads=8)
    first = store().claim(lease, lambda plan, threads: threads)
    Step.objects.update(threads=2)

    more = store().claim(lease, lambda plan, threads: threads, len(first))

    assert len(first) == 8
    assert more == []
    assert lease.closed is False
