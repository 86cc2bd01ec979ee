"""Queues that are bound to a cluster by its name."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from django_q.conf import Conf

from flows import engine
from flows.models import AlertLevel, Consumer, Flow, LiveCluster, Message, Queue
from flows.monitoring.health import alarms
from flows.monitoring.overview import overview
from flows.monitoring.wait_reason import NO_LIVE_WORKERS, why_queue, why_run
from flows.store import Reach, store
from flows.worker.broker import QueueBroker
from flows.worker.redelivery import ACCEPTED, in_commit
from flows.worker.results import released
from flows.worker.worker import consume
from tests.builders import ECHO, make_flow, open_lease, opened, run_of

pytestmark = pytest.mark.django_db

REACHES = [
    (Reach("reports"), {"", "reports"}),
    (Reach("reports", bound_only=True), {"reports"}),
    (Reach("asyncengine"), {"", "asyncengine"}),
    (Reach(), {"", "reports", "asyncengine"}),
]


@pytest.fixture
def brokers(monkeypatch):
    """Return a function that makes the broker of a cluster."""
    monkeypatch.setattr(Conf, "WORKERS", 2)
    made = []

    def broker(name: str, bound_only: bool = False) -> QueueBroker:
        monkeypatch.setattr(Conf, "CLUSTER_NAME", name)
        monkeypatch.setitem(Conf.conf, "bound_queues_only", bound_only)
        made.append(QueueBroker())
        made[-1].cluster = made[-1].shares.cluster = name
        return made[-1]

    yield broker
    for each in made:
        if each.listener:
            each.listener.close()


def bind(queue: str, cluster: str) -> None:
    Queue.objects.filter(name=queue).update(cluster=cluster)


def live(name: str, takes_unbound: bool = True, age: float = 0) -> None:
    seen_at = store().database.now() - timedelta(seconds=age)
    LiveCluster(f"{name}:1", name, takes_unbound, 1, seen_at).tell()


def opened_by(broker: QueueBroker) -> set[str]:
    opened(broker, broker.dequeue())
    return set(
        Consumer.objects.filter(cluster=broker.cluster).values_list("queue__name", flat=True)
    )


def let_time_pass() -> None:
    before = timezone.now() - timedelta(minutes=1)
    Message.objects.update(available_at=before)


def found_alarms() -> list:
    return alarms(overview(Flow.objects.all(), Queue.objects.all()).health)


def test_a_cluster_takes_its_queues_and_unless_it_keeps_to_them_those_that_are_bound_to_none():
    for reach, taken in REACHES:
        assert {name for name in ("", "reports", "asyncengine") if reach.takes(name)} == taken


def test_a_bound_queue_is_served_by_its_cluster_alone(brokers):
    for name in ("bound", "free"):
        make_flow(name, codes=[ECHO])
        engine.start(name, {})
    bind("bound-0", "reports")

    assert opened_by(brokers("asyncengine")) == {"free-0"}
    Consumer.objects.all().delete()
    assert opened_by(brokers("reports", bound_only=True)) == {"bound-0"}
    Consumer.objects.all().delete()
    assert opened_by(brokers("reports")) == {"bound-0", "free-0"}


def test_a_session_neither_goes_on_in_a_queue_of_another_cluster_nor_stays_in_one():
    make_flow(codes=[ECHO, ECHO])
    engine.start("flow", {})
    bind("flow-1", "reports")
    lease = open_lease("flow-0")
    lease.reach = Reach("asyncengine")
    [held] = store().claim(lease, lambda plan, threads: 1)
    done = released(held)
    done.decision, done.output = ACCEPTED, held.body

    taken = store().commit(lease, [done], in_commit, lambda plan, threads: 1)

    assert taken == []
    assert Message.objects.get().queue.name == "flow-1"
    lease = open_lease("flow-1")
    lease.reach = Reach("reports")
    bind("flow-1", "elsewhere")
    assert store().claim(lease, lambda plan, threads: 1) == []


def test_a_worker_takes_what_is_bound_to_the_name_of_its_cluster(monkeypatch):
    monkeypatch.setattr(Conf, "CLUSTER_NAME", "reports")
    make_flow(codes=[ECHO])
    accepted = engine.start("flow", {})
    bind("flow-0", "reports")
    pk = store().open_consumer(Queue.objects.get().pk, 1, "cluster", "machine")

    consume(pk, "cluster")

    assert run_of(accepted.correlation_id).status == "COMPLETED"


def test_a_queue_whose_cluster_is_gone_says_so_and_is_an_alarm():
    make_flow()
    run = run_of(engine.start("flow", {}).correlation_id)
    bind("flow-0", "reports")
    live("asyncengine")
    let_time_pass()
    make_flow("other", codes=[ECHO])
    open_lease("other-0")

    causes = {why_queue(Queue.objects.get(name="flow-0")), why_run(run)}

    assert {cause.code for cause in causes} == {"no-cluster"}
    assert "'reports'" in causes.pop()
    [alarm] = [each for each in found_alarms() if each.rule == "cluster-gone"]
    assert (alarm.level, alarm.queue, alarm.flow) == (AlertLevel.CRITICAL, "flow-0", "flow")
    live("reports", age=14)
    assert why_queue(Queue.objects.get(name="flow-0")).code == "workers-busy"
    assert "cluster-gone" not in {each.rule for each in found_alarms()}
    live("reports", age=16)
    assert why_queue(Queue.objects.get(name="flow-0")).code == "no-cluster"


def test_a_queue_without_workers_of_its_cluster_does_not_mean_that_no_worker_is_running():
    make_flow()
    engine.start("flow", {})
    let_time_pass()
    assert why_queue(Queue.objects.get(name="flow-0")) == NO_LIVE_WORKERS

    bind("flow-0", "reports")
    live("asyncengine")

    assert why_queue(Queue.objects.get(name="flow-0")).code == "no-cluster"


def test_a_queue_that_is_bound_to_none_waits_where_all_clusters_keep_to_their_own():
    make_flow()
    engine.start("flow", {})
    live("reports", takes_unbound=False)
    assert why_queue(Queue.objects.get(name="flow-0")) is None

    let_time_pass()
    assert why_queue(Queue.objects.get(name="flow-0")).code == "no-cluster"

    live("asyncengine")
    assert why_queue(Queue.objects.get(name="flow-0")) == NO_LIVE_WORKERS


def test_the_name_of_a_cluster_is_like_the_name_of_a_queue():
    queue = Queue(name="q")
    for wrong in (" reports", "re/ports", "..", "a\nb"):
        queue.cluster = wrong
        with pytest.raises(ValidationError) as refused:
            queue.clean()
        assert "cluster" in refused.value.message_dict
