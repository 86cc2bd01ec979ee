import json
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from flows import engine
from flows.models import (
    Consumer,
    FlowSchedule,
    FlowScheduleState,
    Queue,
    Reprocessing,
    RunDeadline,
    WebhookDelivery,
)
from flows.tasks.clusters import unreadable_now
from flows.tasks.lanes import Lanes
from flows.worker.broker import ENGINE_LIST, QueueBroker
from flows.worker.offers import TAKEN_SECONDS
from tests.builders import make_flow, open_lease, opened, run_of
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def broker(settings):
    broker = QueueBroker()
    yield broker
    if broker.listener:
        broker.listener.close()


@pytest.fixture
def workers(monkeypatch):
    monkeypatch.setattr(Conf, "WORKERS", 2)


def queues_of(broker, tasks):
    return [Consumer.objects.get(pk=pk).queue.name for pk in opened(broker, tasks)]


def test_django_q2_is_given_this_broker():
    assert isinstance(get_broker(), QueueBroker)


def test_a_ready_message_gives_one_session_on_its_queue(broker, workers):
    make_flow()
    engine.start("flow", {})

    tasks = broker.dequeue()

    assert SignedPackage.loads(tasks[0][1])["save"] is False
    assert not Consumer.objects.exists()
    assert queues_of(broker, tasks) == ["flow-0"]


def test_a_machine_with_the_longest_name_that_there_is_works(workers, monkeypatch):
    name = f"{'h' * 64}/0a1b2c3d/4026531836"
    monkeypatch.setattr("flows.worker.broker.this_machine", lambda: name)
    monkeypatch.setattr("os.getppid", lambda: 4_194_304)
    broker = QueueBroker()
    make_flow()
    engine.start("flow", {})

    [pk] = opened(broker, broker.dequeue())

    consumer = Consumer.objects.get(pk=pk)
    consumer.clean_fields()
    assert consumer.cluster.endswith(":4194304")
    assert broker.listener
    broker.listener.close()


def test_messages_wait_where_scripts_cannot_be_sandboxed(broker, workers, monkeypatch, settings):
    make_flow()
    engine.start("flow", {})
    monkeypatch.setattr("platform.machine", lambda: "riscv64")

    assert broker.dequeue() == []

    settings.ASYNCENGINE_UNSEALED_SCRIPTS = True
    assert queues_of(broker, broker.dequeue()) == ["flow-0"]


def test_one_message_is_worth_no_second_session(broker, workers):
    make_flow()
    engine.start("flow", {})
    broker.dequeue()

    assert broker.dequeue() == []


def test_no_more_sessions_are_sent_than_workers_are_free(broker, workers):
    for name in ("a", "b", "c"):
        make_flow(name, codes=["def run(m, c): return m"])
        engine.start(name, {})

    assert len(broker.dequeue()) == 2
    assert broker.dequeue() == []
    assert Consumer.objects.filter(pid=None).count() == 1


def test_an_offer_that_no_worker_takes_is_made_again(broker, workers, monkeypatch):
    make_flow()
    engine.start("flow", {})
    [(first, _)] = broker.dequeue()
    assert broker.dequeue() == []

    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + TAKEN_SECONDS)

    [(second, _)] = broker.dequeue()
    assert second != first


def test_a_worker_that_has_taken_an_offer_counts_by_its_session_alone(broker, lanes):
    make_flow()
    run = engine.start("flow", {})
    [(_, package)] = broker.dequeue()
    assert broker.busy == 1
    name, *_ = SignedPackage.loads(package)["args"]
    engine.cancel(run_of(run.correlation_id))

    lanes.taken.post(name.encode())
    broker.dequeue()

    assert broker.busy == 0


def test_a_session_that_no_busy_worker_took_goes_to_the_first_that_is_free(broker, workers):
    for name in ("a", "b", "c"):
        make_flow(name, codes=["def run(m, c): return m"])
        engine.start(name, {})
    first = opened(broker, broker.dequeue())
    left = Consumer.objects.exclude(pk__in=first).get().pk
    assert broker.dequeue() == []

    Consumer.objects.filter(pk__in=first).delete()

    assert opened(broker, broker.dequeue())[0] == left


def test_queues_take_turns(broker, monkeypatch):
    monkeypatch.setattr(Conf, "WORKERS", 1)
    for name in ("a", "b"):
        make_flow(name, codes=["def run(m, c): return m"])
        engine.start_many(name, [{}] * 3)
    monkeypatch.setattr("flows.worker.broker.SESSIONS_PER_WORKER", 1)
    served = []
    for _ in range(4):
        served += queues_of(broker, broker.dequeue())
        Consumer.objects.all().delete()

    assert served in (["a-0", "b-0"] * 2, ["b-0", "a-0"] * 2)


def test_a_paused_queue_gives_no_session(broker, workers):
    make_flow(paused=True)
    engine.start("flow", {})

    assert broker.dequeue() == []


def test_a_queue_whose_next_queue_is_full_gives_no_session(broker, workers):
    make_flow()
    Queue.objects.filter(name="flow-1").update(size=1)
    Queue.objects.get(name="flow-1").state.__class__.objects.filter(queue__name="flow-1").update(
        reserved=1
    )
    engine.start("flow", {})

    assert broker.dequeue() == []


def test_no_lease_is_ended_for_its_silence_where_the_database_was_silent(broker, workers):
    make_flow()
    lease = open_lease("flow-0", cluster="elsewhere")
    broker.patient_until = broker.reaped_at = time.monotonic() - 9
    Consumer.objects.update(
        machine="elsewhere", heartbeat_at=timezone.now() - timedelta(seconds=11)
    )

    broker.dequeue()
    assert Consumer.objects.filter(pk=lease.consumer_id).exists()

    # The database has answered all the while, and still nothing was heard.
    broker.patient_until = broker.reaped_at = time.monotonic() - 1
    broker.dequeue()
    assert not Consumer.objects.filter(pk=lease.consumer_id).exists()


def test_waiting_for_work_ends_with_the_shortest_polling_time(broker, workers):
    make_flow()
    broker.dequeue()

    assert broker.dequeue() == []


def test_tasks_of_django_q2_come_through_the_same_broker(broker, workers, settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["math"]
    async_task("math.copysign", 2, -2)

    [(task_id, package)] = broker.dequeue()

    assert SignedPackage.loads(package)["func"] == "math.copysign"
    broker.acknowledge(task_id)
    assert not OrmQ.objects.exists()


def test_acknowledging_a_session_touches_no_task_of_django_q2(broker, workers):
    async_task("math.copysign", 2, -2)

    broker.acknowledge("consumer-1")

    assert OrmQ.objects.count() == 1


@pytest.fixture
def lanes(broker, workers):
    """The lanes of a cluster whose workers do not wait for a task yet."""
    broker.lanes = Lanes(flow_workers=2, task_workers=2)
    yield broker.lanes
    broker.lanes.shut()


def funcs(tasks):
    return [SignedPackage.loads(package)["func"] for _, package in tasks]


def test_tasks_stay_in_their_list_until_a_worker_is_free_for_them(broker, lanes, settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["math"]
    for number in range(3):
        async_task("math.sqrt", number)

    assert broker.dequeue() == []
    for lane in lanes.tasks:
        lane.waits.value = 1
    taken = broker.dequeue()

    assert [SignedPackage.loads(package)["args"] for _, package in taken] == [(0,), (1,)]
    for task_id, package in taken:
        lanes.put({**SignedPackage.loads(package), "ack_id": task_id})
    assert broker.dequeue() == []


def test_sessions_are_opened_whatever_the_workers_for_tasks_do(broker, lanes):
    make_flow()
    engine.start("flow", {})

    assert queues_of(broker, broker.dequeue()) == ["flow-0"]


def test_no_session_is_opened_where_no_worker_is_for_flows(broker, monkeypatch):
    monkeypatch.setitem(Conf.conf, "workers", 0)
    make_flow()
    engine.start("flow", {})

    assert broker.dequeue() == []
    assert not Consumer.objects.exists()


def test_a_queue_that_cannot_be_read_rests_and_others_go_on(broker, lanes):
    for name in ("flow", "other"):
        make_flow(name)
        engine.start(name, {})
    lanes.unreadable.send(Queue.objects.get(name="flow-0").pk, "The key is missing.", True)

    assert queues_of(broker, broker.dequeue()) == ["other-0"]
    wait_for(
        lambda: queues_of(broker, broker.dequeue()) == ["flow-0"], PATIENCE, "the end of the rest"
    )

    times = dict.fromkeys(("tob", "timestamp"), timezone.now().isoformat())
    note = {"cluster_id": str(uuid4()), "status": "WORKING", "host": "a", "pid": 1, **times}
    lanes.notes.put(json.dumps(note))
    broker._store_stat()
    assert unreadable_now() == {"flow-0": "On a: The key is missing."}


def test_the_engines_own_tasks_wait_apart_and_come_first(broker, lanes, settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["math"]
    async_task("math.sqrt", 4)
    async_task("flows.tasks.retention.purge")
    assert OrmQ.objects.filter(key=ENGINE_LIST).count() == 1

    lanes.engine[0].waits.value = 1
    assert funcs(broker.dequeue()) == ["flows.tasks.retention.purge"]
    lanes.tasks[0].waits.value = 1
    assert funcs(broker.dequeue()) == ["math.sqrt"]


def test_the_engines_own_tasks_take_workers_for_tasks_where_theirs_is_busy(broker, lanes, settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["math"]
    async_task("math.sqrt", 4)
    for _ in range(2):
        async_task("flows.tasks.retention.purge")
    for lane in lanes.tasks:
        lane.waits.value = 1

    assert funcs(broker.dequeue()) == ["flows.tasks.retention.purge"] * 2


def kinds_of_work():
    """Yield what a broker at rest has to find, with what is not yet to be found."""
    now = timezone.now()
    past, later = now - timedelta(seconds=1), now + timedelta(hours=1)
    flow = make_flow()
    queue = flow.steps.first().queue
    schedule = FlowSchedule.objects.create(flow=flow, name="s", cron="0 0 1 1 *", active=False)
    webhook = {"kind": "flow", "url": "http://a.example", "run_status": "COMPLETED", "at": now}
    reprocessing = {"filter": {}, "last_id": 0, "created_at": now, "due_at": later}
    task = {"payload": "task", "key": Conf.PREFIX}
    yield queue.state, {}, {"depth": 1}
    yield queue.state, {"depth": 0}, {"delayed": 1}
    yield RunDeadline(run_id=uuid4()), {"at": later}, {"at": past}
    yield RunDeadline(run_id=uuid4()), {"at": past, "was_missed": True}, {"was_missed": None}
    yield FlowScheduleState(schedule=schedule), {"at": later}, {"at": past}
    delivery = WebhookDelivery(id=uuid4(), run_id=uuid4(), **webhook)
    yield delivery, {"next_attempt_at": later}, {"next_attempt_at": past}
    yield Reprocessing(**reprocessing), {"finished_at": now}, {"finished_at": None}
    yield OrmQ(**task), {"lock": later}, {"lock": past}
    yield OrmQ(**task), {"lock": past, "key": "of-others"}, {"key": ENGINE_LIST}
    yield Consumer(**consumer_of(queue)), None, {}


def consumer_of(queue):
    now = timezone.now()
    times = {"created_at": now, "heartbeat_at": now}
    return {"queue": queue, "threads": 1, "cluster": "c", "machine": "m"} | times


def save(row, fields):
    for name, value in fields.items():
        setattr(row, name, value)
    row.save()


def test_a_broker_at_rest_finds_each_kind_of_work_and_nothing_else(broker, workers, monkeypatch):
    monkeypatch.setattr("flows.worker.broker.REAP_SECONDS", 0.001)
    broker.dequeue()
    looks = []
    monkeypatch.setattr(broker, "_wake_reprocessings", lambda: looks.append("again"))

    def is_at_rest():
        looks.clear()
        broker.is_quiet = broker.is_empty = True
        broker.dequeue()
        return not looks

    found = {}
    for number, (row, before, work) in enumerate(kinds_of_work()):
        if before is not None:
            save(row, before)
        rested = is_at_rest()
        save(row, work)
        found[number, type(row).__name__] = (rested, not is_at_rest())
        if row._meta.model_name == "queuestate":
            save(row, {"depth": 0, "delayed": 0})
        else:
            row.delete()

    assert set(found.values()) == {(True, True)}, found


def test_a_task_whose_worker_died_is_recorded_after_the_database_was_lost(broker):
    async_task("flows.tasks.retention.purge")
    row = OrmQ.objects.get()
    broker.lanes = lanes = Lanes(1, 1)
    lanes.engine[0].runs.value = row.pk
    # A signal without a name.
    lanes.engine[0].note_death(-35)

    def gone(*args):
        raise OperationalError("gone")

    with connection.execute_wrapper(gone), pytest.raises(OperationalError):
        broker._record_lost_tasks()
    broker._record_lost_tasks()
    broker._record_lost_tasks()

    assert not lanes.results.empty()
    failed = lanes.results.get()
    assert (failed["ack_id"], failed["success"]) == (row.pk, False)
    assert "killed by the signal 35" in failed["result"]
    assert lanes.results.empty()
    lanes.shut()
