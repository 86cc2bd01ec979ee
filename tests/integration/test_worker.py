import json

import pytest
from django.db import OperationalError

from flows import engine
from flows.models import Consumer, Message, Queue, QueueState, Run, StepRun
from flows.store import Store, store
from flows.worker.this_worker import this_worker
from flows.worker.worker import Worker, consume
from scripts.pool.host_pool import HostPool
from tests.builders import ECHO, TRAIL, make_flow, run_of, work
from tests.waiting import wait_for

ENDLESS = "def run(message, context):\n    while True:\n        pass\n"


@pytest.fixture
def commits(monkeypatch):
    """Let chosen commits lose their connection, before or after the database has made them."""
    faults: dict[int, str] = {}
    real, count = Store.commit, iter(range(1000))

    def commit(self, *args):
        fault = faults.get(next(count))
        if fault == "before":
            raise OperationalError("the connection was lost before the commit")
        taken = real(self, *args)
        if fault == "after":
            raise OperationalError("the connection was lost after the commit")
        return taken

    monkeypatch.setattr(Store, "commit", commit)
    return faults


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("which", range(4))
def test_a_commit_in_doubt_is_settled_without_running_a_script_again(commits, which, fault):
    make_flow()
    ids = engine.start_many("flow", [{"n": n} for n in range(20)])
    commits[which] = fault

    work("flow-0")
    work_rest()

    for n, id in enumerate(ids):
        run = run_of(id)
        assert run.status == Run.Status.COMPLETED
        assert json.loads(run.result or "")["payload"] == {
            "n": n,
            "trail": ["flow-0", "flow-1", "flow-2"],
        }
    assert StepRun.objects.count() == 60
    assert set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}
    assert not Consumer.objects.exists()


def work_rest():
    while message := Message.objects.exclude(queue=None).first():
        work(message.queue.name)


@pytest.mark.django_db(transaction=True)
def test_a_slow_script_keeps_no_other_queue_waiting(monkeypatch, settings):
    make_flow("slow", codes=[ENDLESS], threads=1)
    make_flow("quick", codes=[TRAIL])
    slow = engine.start("slow", {}).correlation_id
    quick = engine.start("quick", {}).correlation_id
    settings.ASYNCENGINE_GRACE_SECONDS = 0.1
    is_over = lambda: run_of(quick).status == Run.Status.COMPLETED  # noqa: E731
    monkeypatch.setattr(this_worker.draining, "is_set", is_over)
    first, second = (
        store().open_consumer(Queue.objects.get(name=name).pk, 1, "cluster", "machine")
        for name in ("slow-0", "quick-0")
    )
    assert first
    assert second

    consume(first, "cluster")

    assert run_of(quick).status == Run.Status.COMPLETED
    # It was still at work.
    assert Message.objects.get().run_id == slow
    assert not StepRun.objects.filter(run=slow).exists()


@pytest.mark.django_db(transaction=True)
def test_sessions_of_one_queue_have_the_threads_of_each_in_one_worker():
    make_flow(codes=["import time\n\n\ndef run(m, c):\n    time.sleep(600)\n"], threads=4)
    engine.start_many("flow", [{}] * 4)
    worker = Worker(this_worker.hosts(), "cluster")

    for _ in range(2):
        worker.begin(store().open_consumer(Queue.objects.get().pk, 2, "cluster", "machine"))

    hosts = worker.hosts
    wait_for(lambda: not hosts.collect(0.1) and sum(h.page.running > 0 for h in hosts._hosts) == 4)
    first, second = worker.sessions
    assert (first._threads_beside(), second._threads_beside()) == (2, 2)
    # It has gone on with its runs at the queue of their next step.
    first.lease.queue_id += 1
    assert (first._threads_beside(), second._threads_beside()) == (0, 0)
    for session in worker.sessions:
        session.forget()


@pytest.mark.django_db(transaction=True)
def test_a_draining_worker_takes_nothing_new(monkeypatch):
    make_flow(codes=[ECHO])
    engine.start("flow", {})
    monkeypatch.setattr(this_worker.draining, "is_set", lambda: True)

    work("flow-0")

    assert Message.objects.get().queue.name == "flow-0"
    assert not Consumer.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_worker_whose_grace_is_over_releases_its_messages_uncounted(monkeypatch, settings):
    make_flow(codes=[ENDLESS])
    engine.start("flow", {})
    settings.ASYNCENGINE_GRACE_SECONDS = 0.1
    pk = store().open_consumer(Queue.objects.get(name="flow-0").pk, 1, "cluster", "machine")
    assert pk
    worker = Worker(this_worker.hosts(), "cluster")
    worker.begin(pk)
    monkeypatch.setattr(this_worker.draining, "is_set", lambda: True)

    def is_over():
        worker._collect()
        worker.sessions[0].go_on(claim=False)
        return worker.sessions[0].lease.closed

    wait_for(is_over, 10)

    message = Message.objects.get()
    assert message.queue.name == "flow-0"
    assert message.deliveries == 0


@pytest.mark.django_db(transaction=True)
def test_a_draining_worker_gives_back_at_once_what_has_not_begun(monkeypatch):
    make_flow(codes=[ENDLESS], threads=1)
    engine.start_many("flow", [{}] * 3)
    monkeypatch.setattr(HostPool, "seconds_per_call", lambda self, program: 0.001)
    pk = store().open_consumer(Queue.objects.get(name="flow-0").pk, 1, "cluster", "machine")
    assert pk
    worker = Worker(this_worker.hosts(), "cluster")
    worker.begin(pk)
    assert Message.objects.filter(consumer=pk).count() == 3
    monkeypatch.setattr(this_worker.draining, "is_set", lambda: True)

    def are_back():
        worker._collect()
        worker.sessions[0].go_on(claim=False)
        return Message.objects.filter(consumer=None).count() == 2

    try:
        wait_for(are_back, 10)
        assert set(Message.objects.filter(consumer=None).values_list("deliveries")) == {(0,)}
        assert not worker.sessions[0].lease.closed
    finally:
        worker.sessions[0].forget()


@pytest.mark.django_db(transaction=True)
def test_a_worker_asked_for_by_another_task_comes_to_an_end(monkeypatch, settings):
    make_flow(codes=[ECHO])
    settings.ASYNCENGINE_SLICE_SECONDS = 0
    monkeypatch.setattr(this_worker, "is_awaited", lambda: True)
    engine.start("flow", {})

    work("flow-0")

    assert not Consumer.objects.exists()
    assert Message.objects.get().queue.name == "flow-0"
