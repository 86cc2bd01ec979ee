"""Clusters share the threads of a queue, each by its workers."""

from __future__ import annotations

import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django_q.conf import Conf

from flows import engine
from flows.models import Consumer, LiveCluster, Message, Queue, Run, Step
from flows.store import store
from flows.worker.broker import QueueBroker
from flows.worker.cluster import CrashSafeSentinel, Flag, StopEvent
from flows.worker.shares import Shares
from flows.worker.this_worker import this_worker
from flows.worker.worker import consume
from tests.builders import make_flow, open_lease, opened

pytestmark = pytest.mark.django_db
ECHO = "def run(message, context):\n    return message\n"


@pytest.fixture
def broker(monkeypatch) -> Iterator[QueueBroker]:
    """The broker of a cluster with two workers, and a queue with 12 threads and as many runs."""
    monkeypatch.setattr(Conf, "WORKERS", 2)
    make_flow(codes=[ECHO], threads=12)
    engine.start_many("flow", [{}] * 12)
    broker = QueueBroker()
    yield broker
    if broker.listener:
        broker.listener.close()


def live(name: str, workers: int = 2, takes_unbound: bool = True, age: float = 0) -> None:
    seen_at = store().database.now() - timedelta(seconds=age)
    LiveCluster(name, name, takes_unbound, workers, seen_at).tell()


def granted(broker: QueueBroker) -> list[int]:
    """Return the threads of each session that the broker opens while nothing else happens."""
    for _ in range(15):
        opened(broker, broker.dequeue())
    sessions = Consumer.objects.filter(cluster=broker.cluster).order_by("pk")
    return list(sessions.values_list("threads", flat=True))


class IdleSentinel(CrashSafeSentinel):
    """A sentinel that starts no processes."""

    def start(self) -> None:
        pass


def test_the_workers_of_a_cluster_know_it_by_the_name_that_it_is_told_as(monkeypatch):
    monkeypatch.setattr("flows.worker.cluster.die_with_parent", lambda parent: None)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    for name in ("draining", "is_awaited", "measuring", "unreadable", "note_taken"):
        monkeypatch.setattr(this_worker, name, getattr(this_worker, name))
    stop = StopEvent()
    sentinel = IdleSentinel(stop, Flag(), uuid.uuid4(), os.getpid(), None)

    sentinel.broker._tell_that_it_lives()

    assert LiveCluster.objects.get().key == this_worker.unreadable.cluster
    sentinel.task_queue.shut()
    stop.close()


def test_a_cluster_that_is_alone_takes_all_threads(broker):
    live("dead", age=20)
    live("bound to other queues", takes_unbound=False)
    live("may run no scripts", workers=0)

    assert granted(broker) == [6, 6]


def test_a_cluster_leaves_the_others_their_part(broker, monkeypatch):
    monkeypatch.setattr("flows.worker.shares.OTHERS_SECONDS", 3600)
    live("b")
    live("c", workers=4)

    # Of eight workers, two are its own; each takes two threads.
    assert granted(broker) == [2, 2]


def test_a_cluster_that_ends_leaves_its_part_to_the_others_at_once(broker, monkeypatch):
    monkeypatch.setattr("flows.worker.shares.OTHERS_SECONDS", 3600)
    other = QueueBroker()
    other.cluster = "b"
    live("b")

    other.leave()

    assert granted(broker) == [6, 6]


def test_a_cluster_takes_what_the_others_leave_alone(broker, monkeypatch):
    monkeypatch.setattr("flows.worker.shares.OTHERS_SECONDS", 0.0)
    live("b")

    assert granted(broker) == [3, 3, 3, 3]


def test_of_threads_that_cannot_be_shared_the_first_cluster_takes_them(broker):
    live("b")
    live("c")
    Step.objects.update(threads=1)

    assert granted(broker) == [1]


def test_a_cluster_that_comes_later_is_left_its_part_session_by_session(broker, monkeypatch):
    monkeypatch.setattr("flows.worker.broker.ASK_SECONDS", 0.0)
    monkeypatch.setattr("flows.worker.shares.OTHERS_SECONDS", 3600)
    live("b")
    leases = [open_lease("flow-0", 4, cluster="b") for _ in range(3)]

    assert granted(broker) == []
    [leaving] = Consumer.objects.filter(leaves=True)
    lease = next(lease for lease in leases if lease.consumer_id == leaving.pk)
    assert not lease.leaves
    store().heartbeat(lease)
    assert lease.leaves
    store().close(lease)

    assert granted(broker) == [3, 1]
    # Of what is left, the other has no more than two threads beyond its part of six.
    [second] = Consumer.objects.filter(leaves=True)
    assert second.cluster == "b"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="it has no locks of rows")
def test_a_session_whose_transaction_has_frozen_keeps_no_broker(broker, monkeypatch):
    monkeypatch.setattr("flows.worker.broker.ASK_SECONDS", 0.0)
    live("b")
    open_lease("flow-0", 12, cluster="b")
    frozen = connection.copy()
    frozen.set_autocommit(False)
    frozen.cursor().execute("SELECT 1 FROM flows_consumer FOR UPDATE")
    try:
        assert granted(broker) == []
        assert not Consumer.objects.filter(leaves=True).exists()
    finally:
        frozen.rollback()
        frozen.close()

    assert granted(broker) == []
    assert Consumer.objects.filter(leaves=True).exists()


def test_each_start_is_first_left_to_one_of_the_clusters_that_take_it(broker):
    [known] = store().ready()
    queues = [replace(known, queue_id=number) for number in range(200)]
    live("elsewhere", takes_unbound=False)
    live("without workers", workers=0)
    clusters = [Shares(key, broker.reach) for key in ("a", "b", broker.cluster)]
    for each in clusters:
        live(each.cluster)
    for each in clusters:
        each.look(store().database.now())

    firsts = [[each.comes_first(queue) for each in clusters] for queue in queues]

    assert {sum(first) for first in firsts} == {1}
    assert all(sum(of_one) > 30 for of_one in zip(*firsts, strict=True))


def test_a_cluster_that_has_its_part_asks_for_no_more(broker, monkeypatch):
    monkeypatch.setattr("flows.worker.broker.ASK_SECONDS", 0.0)
    live("b")
    open_lease("flow-0", 6, cluster="b")

    assert granted(broker) == [3, 3]
    assert not Consumer.objects.filter(leaves=True).exists()


def test_a_session_that_leaves_ends_what_it_holds_and_takes_nothing_new(broker):
    consumer_id = store().open_consumer(Queue.objects.get().pk, 4, "b", "machine")
    assert consumer_id is not None
    Consumer.objects.filter(pk=consumer_id).update(leaves=True)

    # It learns of it with what it takes first.
    consume(consumer_id, "b")

    by_status = Counter(Run.objects.values_list("status", flat=True))
    assert by_status == {"COMPLETED": 4, "QUEUED": 8}
    assert not Consumer.objects.exists()


def spread(broker: QueueBroker) -> list[int]:
    """Have a worker give up a session for an idle one, and return the threads of those that do."""
    broker.shares.spread(store().ready(), own_workers=2)
    return list(Consumer.objects.filter(leaves=True).values_list("threads", flat=True))


def begun(broker: QueueBroker, threads: int, pid: int) -> None:
    consumer_id = store().open_consumer(Queue.objects.get().pk, threads, broker.cluster, "machine")
    assert consumer_id is not None
    store().begin(consumer_id, pid)


def test_a_worker_with_much_gives_up_a_session_for_an_idle_one(broker):
    begun(broker, 12, pid=1)

    assert spread(broker) == [12]
    # One after the other.
    begun_before = Consumer.objects.get().pk
    assert spread(broker) == [12]
    Consumer.objects.filter(pk=begun_before).delete()

    begun(broker, 6, pid=1)
    assert spread(broker) == []
    begun(broker, 2, pid=1)
    assert spread(broker) == [6]


def test_no_worker_gives_up_a_session_where_nothing_waits(broker):
    begun(broker, 12, pid=1)
    Message.objects.update(available_at=store().database.now() + timedelta(hours=1))

    assert spread(broker) == []
