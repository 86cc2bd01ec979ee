"""Sessions that a worker opens with their first claim, as its broker has offered them."""

from __future__ import annotations

import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django_q.conf import Conf
from django_q.signing import SignedPackage

from flows import engine
from flows.errors import LeaseLost
from flows.models import Consumer, Message, Queue, Run, StepRun
from flows.plan import StepPlan
from flows.store import Lease, Owner, Ready, Store, store
from flows.store.asked import Asked
from flows.tasks.lanes import Lanes
from flows.worker.broker import QueueBroker
from flows.worker.shares import Shares
from flows.worker.this_worker import this_worker
from flows.worker.worker import Worker, take_offer
from tests.builders import (
    ECHO,
    counters,
    make_flow,
    open_lease,
    opened,
    run_of,
    work_until_idle,
)
from tests.databases import is_postgresql
from tests.integration.test_database_trouble import CODES, refuse
from tests.interleaving import Turn, interleave
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

OWNER = Owner("cluster", "machine", 1)


@pytest.fixture
def told(monkeypatch) -> list[tuple[str, bool]]:
    """What is told to the broker: offers, and whether they led to a session."""
    told: list[tuple[str, bool]] = []
    monkeypatch.setattr(this_worker, "note_taken", lambda *taken: told.append(taken))
    return told


def test_a_taken_offer_is_told_and_its_session_ends_with_its_work(told):
    make_flow()
    run = engine.start("flow", {})

    take_offer("offer", Queue.objects.get(name="flow-0").pk, 4, "cluster")

    assert told == [("offer", True)]
    assert run_of(run.correlation_id).status == Run.Status.COMPLETED
    assert not Consumer.objects.exists()


def test_an_offer_of_an_empty_queue_leaves_nothing(told):
    make_flow()

    take_offer("offer", Queue.objects.get(name="flow-0").pk, 4, "cluster")

    assert told == [("offer", False)]
    assert not Consumer.objects.exists()


def test_a_broker_looks_again_as_soon_as_an_offer_has_led_to_nothing(broker):
    engine.start("flow", {})
    [(_, package)] = broker.dequeue() or broker.dequeue()
    name, *_ = SignedPackage.loads(package)["args"]
    assert broker.dequeue() == []

    broker.lanes.note_taken(name, False)

    assert select.select([broker.lanes.waker], [], [], 0)[0]
    assert len(broker.dequeue() or broker.dequeue()) == 1


@pytest.mark.parametrize(("wanted", "others", "granted"), [(4, 0, 4), (4, 1, 3), (2, 1, 2)])
def test_a_session_that_opens_gets_no_more_threads_than_are_free(wanted, others, granted):
    make_flow(codes=[ECHO], threads=4)
    engine.start_many("flow", [{}] * 9)
    queue_id = Queue.objects.get().pk
    if others:
        open_lease("flow-0", others)
    lease = Lease(0, queue_id, queue_id, wanted)

    taken = store().open(lease, OWNER, lambda plan, threads: threads)

    assert (len(taken), lease.threads) == (granted, granted)
    assert Consumer.objects.get(pk=lease.consumer_id).threads == granted


def test_a_session_that_finds_no_free_thread_is_not_opened():
    make_flow(codes=[ECHO], threads=4)
    engine.start("flow", {})
    open_lease("flow-0", 4)
    queue_id = Queue.objects.get().pk
    lease = Lease(0, queue_id, queue_id, 2)

    assert store().open(lease, OWNER, lambda plan, threads: threads) == []

    assert lease.closed
    assert Consumer.objects.count() == 1


def test_a_session_of_a_queue_that_is_gone_is_not_opened():
    lease = Lease(0, 10**9, 10**9, 2)

    with pytest.raises(LeaseLost):
        store().open(lease, OWNER, lambda plan, threads: threads)

    assert not Consumer.objects.exists()


@pytest.mark.parametrize("is_made", [True, False])
def test_a_session_whose_opening_is_in_doubt_finds_out_whether_it_is_open(monkeypatch, is_made):
    make_flow(codes=[ECHO])
    run = engine.start("flow", {})
    queue_id, opening = Queue.objects.get().pk, Store.open

    def in_doubt(self, lease, owner, batch):
        monkeypatch.setattr(Store, "open", opening)
        if is_made:
            opening(self, lease, owner, batch)
            lease.consumer_id = 0
        refuse(CODES[0])

    monkeypatch.setattr(Store, "open", in_doubt)
    worker = Worker(this_worker.hosts(), "cluster")
    worker.take("offer", queue_id, 4)
    worker.work()

    if is_made:
        assert run_of(run.correlation_id).status == Run.Status.COMPLETED
        assert StepRun.objects.get().delivery == 1
    else:
        assert Message.objects.get().deliveries == 0
    assert not Consumer.objects.exists()


def test_what_runs_is_given_up_where_the_server_has_lost_its_claim():
    flow = make_flow(codes=[ECHO])
    run = engine.start("flow", {})
    queue_id = Queue.objects.get().pk
    worker = Worker(this_worker.hosts(), "cluster")
    worker.take("offer", queue_id, 4)
    [session] = worker.sessions
    assert session.running

    # As it was before the claim; another session may take it now.
    Message.objects.update(consumer=None, queue=queue_id, deliveries=0)
    session._read_back()

    assert not Consumer.objects.exists()
    worker.work()
    assert run_of(run.correlation_id).status != Run.Status.COMPLETED
    work_until_idle(flow)
    assert run_of(run.correlation_id).status == Run.Status.COMPLETED
    assert StepRun.objects.get().delivery == 1
    assert counters("flow-0") == (0, 0)


def as_many_as_threads(plan: StepPlan, threads: int) -> int:
    return threads


def test_an_opening_in_doubt_that_the_server_is_still_at_is_found():
    make_flow(codes=[ECHO])
    engine.start("flow", {})
    queue_id = Queue.objects.get().pk
    lease, found = Lease(0, queue_id, queue_id, 4), []

    def open_slowly(turn: Turn) -> None:
        with transaction.atomic():
            store().open(Lease(0, queue_id, queue_id, 4), OWNER, as_many_as_threads)
            turn()

    def settle(turn: Turn) -> None:
        found.append(store().find_opened(lease, OWNER, []))

    assert interleave(iter([0, 1]), open_slowly, settle) == []

    assert found == [True]
    assert lease.consumer_id == Consumer.objects.get().pk


def test_an_opening_in_doubt_is_not_taken_for_a_session_that_was_given_up_before():
    make_flow(codes=[ECHO, ECHO])
    engine.start_many("flow", [{}] * 2)
    first, second = Queue.objects.order_by("pk").values_list("pk", flat=True)
    store().open(Lease(0, first, first, 1), OWNER, as_many_as_threads)

    assert not store().find_opened(Lease(0, second, second, 1), OWNER, [])

    opened_last = Lease(0, first, first, 1)
    store().open(opened_last, OWNER, as_many_as_threads)
    lease = Lease(0, first, first, 1)
    assert store().find_opened(lease, OWNER, [])
    assert lease.consumer_id == opened_last.consumer_id


@pytest.mark.parametrize(("guess", "claims"), [("flow-0", 1), ("flow-1", 1), ("later-0", 2)])
def test_a_claim_that_locked_other_counters_than_it_needs_is_made_in_their_order(
    monkeypatch, guess, claims
):
    """Where it needs one before a locked one, it is left for the next claim, which knows."""
    make_flow(codes=[ECHO, ECHO])
    make_flow("later", codes=[ECHO])
    engine.start("flow", {})
    ids = dict(Queue.objects.values_list("name", "pk"))
    assert ids["flow-0"] < ids["flow-1"] < ids["later-0"]
    monkeypatch.setitem(Asked.rooms_of, ids["flow-0"], frozenset({ids[guess]}))

    leases = [Lease(0, ids["flow-0"], ids["flow-0"], 1) for _ in range(claims)]
    taken = [store().open(lease, OWNER, as_many_as_threads) for lease in leases]

    assert [len(each) for each in taken] == [0] * (claims - 1) + [1]
    assert [lease.closed for lease in leases] == [True] * (claims - 1) + [False]
    assert [counters(name) for name in ("flow-0", "flow-1", "later-0")] == [(1, 0), (0, 1), (0, 0)]
    assert Consumer.objects.get().pk == leases[-1].consumer_id


@pytest.mark.skipif(not is_postgresql(), reason="a commit of SQLite is one write")
@pytest.mark.parametrize("is_opened", [False, True])
def test_what_a_session_takes_is_on_disk_before_its_scripts_begin(is_opened):
    make_flow(codes=[ECHO])
    engine.start("flow", {})
    queue_id = Queue.objects.get().pk
    lease = open_lease("flow-0", 1) if is_opened else Lease(0, queue_id, queue_id, 1)
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
        cursor.execute("SELECT pg_current_wal_insert_lsn()")
        [(before,)] = cursor.fetchall()

        if is_opened:
            taken = store().claim(lease, as_many_as_threads)
        else:
            taken = store().open(lease, OWNER, as_many_as_threads)

        cursor.execute("SELECT pg_current_wal_flush_lsn() > %s::pg_lsn", [before])
        assert (len(taken), cursor.fetchall()) == (1, [(True,)])
        cursor.execute("RESET synchronous_commit")


@pytest.fixture
def broker(monkeypatch) -> Iterator[QueueBroker]:
    """The broker of a cluster with two workers, which has looked at the queue of a flow."""
    monkeypatch.setattr(Conf, "WORKERS", 2)
    make_flow(codes=[ECHO])
    broker = QueueBroker()
    broker.lanes = Lanes(flow_workers=2, task_workers=1)
    broker.dequeue()
    yield broker
    broker.lanes.shut()
    if broker.listener:
        broker.listener.close()


@pytest.fixture
def looks(broker, monkeypatch) -> list[bool]:
    """Where something is put for each look of the broker at all queues."""
    looks: list[bool] = []
    ready = Store.ready

    def look(self: Store) -> list[Ready]:
        looks.append(True)
        return ready(self)

    monkeypatch.setattr(Store, "ready", look)
    return looks


def handed_out(broker: QueueBroker) -> list[str]:
    """Return the queues whose sessions the broker hands out next."""
    tasks = wait_for(broker.dequeue, what="a session")
    return [Consumer.objects.get(pk=pk).queue.name for pk in opened(broker, tasks)]


def test_the_broker_of_a_cluster_hands_a_session_over_itself(broker):
    handed: list[dict[str, object]] = []
    broker.hand_over = handed.append
    engine.start("flow", {})

    # django-q2 gets nothing of it.
    wait_for(lambda: broker.dequeue() == [] and handed, what="a session")

    [session] = handed
    assert session["func"] == "flows.worker.worker.take_offer"
    broker.lanes.put(session)
    assert broker.lanes.flows.get() == session | {"func": take_offer}


@pytest.mark.skipif(is_postgresql(), reason="PostgreSQL tells the queue")
def test_a_start_in_another_session_is_offered_before_a_look_on_sqlite(broker, looks):
    def start() -> None:
        engine.start("flow", {})
        connection.close()

    broker.dequeue()
    looks.clear()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(start).result()
    assert broker.listener.wait(PATIENCE)

    assert handed_out(broker) == ["flow-0"]
    assert looks == []
    # It is told once, and a message that a session has is no reason for another one.
    assert broker.listener.told() == set()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(start).result()
    assert broker.listener.told() == set()


@pytest.mark.skipif(not is_postgresql(), reason="SQLite tells no queue")
def test_a_start_is_offered_before_the_broker_has_looked_at_all_queues(broker, looks):
    broker.dequeue()
    looks.clear()

    engine.start("flow", {})
    assert select.select([broker.listener.connection], [], [], PATIENCE)[0]

    assert handed_out(broker) == ["flow-0"]
    assert looks == []


@pytest.mark.skipif(not is_postgresql(), reason="SQLite tells no queue")
def test_a_start_that_another_cluster_comes_first_at_is_looked_for_all_the_same(
    broker, looks, monkeypatch
):
    broker.dequeue()
    looks.clear()
    monkeypatch.setattr(Shares, "comes_first", lambda self, queue: False)

    engine.start("flow", {})
    assert select.select([broker.listener.connection], [], [], PATIENCE)[0]

    assert handed_out(broker) == ["flow-0"]
    assert looks


@pytest.mark.skipif(not is_postgresql(), reason="SQLite tells nothing")
def test_a_notification_in_words_of_another_version_ends_the_wait(broker):
    with connection.cursor() as cursor:
        cursor.execute("NOTIFY asyncengine_work, '7 second:8'")

    assert broker.listener.wait(PATIENCE)

    assert broker.listener.told() == {7}


@pytest.mark.parametrize(
    "bound", [{"paused": True}, {"rate_count": 1, "rate_period": timedelta(seconds=1)}]
)
def test_what_the_last_look_found_bound_is_not_offered_at_once(broker, looks, bound):
    Queue.objects.update(**bound)
    broker.is_quiet = False
    broker.dequeue()
    looks.clear()

    engine.start("flow", {})
    if is_postgresql():
        assert select.select([broker.listener.connection], [], [], PATIENCE)[0]

    for _ in range(2):
        assert not broker.dequeue() or looks
    assert looks


def test_a_queue_that_was_paused_since_the_last_look_is_offered_for_nothing(broker):
    Queue.objects.update(paused=True)
    run = engine.start("flow", {})

    take_offer("offer", Queue.objects.get().pk, 4, "cluster")

    assert run_of(run.correlation_id).status == Run.Status.QUEUED
    assert not Consumer.objects.exists()
