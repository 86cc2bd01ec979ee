"""Short ways to the objects that tests need."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from django_q.signing import SignedPackage

from flows.models import Flow, Queue, QueueState, Run, Step
from flows.processes import this_machine
from flows.store import Lease, store
from flows.worker.broker import QueueBroker, servable
from flows.worker.this_worker import ThisWorker, this_worker
from flows.worker.worker import Worker
from scripts.models import Script
from scripts.pool.host_pool import HostPool

ECHO = "def run(message, context):\n    return message\n"
# Says in the payload which steps the message went through.
TRAIL = (
    "def run(message, context):\n"
    "    message['payload'].setdefault('trail', []).append(context.step)\n"
    "    return message\n"
)
RAISING = "def run(message, context):\n    raise ValueError('no luck')\n"


def make_script(name: str, code: str = ECHO, **options: Any) -> Script:
    return Script.objects.create(name=name, code=code, **options)


def make_flow(
    name: str = "flow", codes: list[str] | None = None, threads: int = 4, **queue: Any
) -> Flow:
    """Make a flow with a step for each code: script, queue and step are `<flow>-<position>`.

    Without another back-off, what fails is not delivered again while a test looks.
    """
    queue = {"backoff_initial": timedelta(minutes=1)} | queue
    flow = Flow.objects.create(name=name)
    for position, code in enumerate([TRAIL] * 3 if codes is None else codes):
        part = f"{name}-{position}"
        Step.objects.create(
            flow=flow,
            position=position,
            name=part,
            script=make_script(part, code),
            queue=Queue.objects.create(name=part, **queue),
            threads=threads,
        )
    return flow


def make_callable(path: str, in_transaction: bool = False) -> Script:
    """Turn the scripts with this code into callables, and return the last of them."""
    for script in Script.objects.filter(code=path):
        script.language, script.in_transaction = "callable", in_transaction
        script.save()
    return script


def open_lease(queue: str, threads: int = 4, cluster: str = "cluster") -> Lease:
    pk = Queue.objects.get(name=queue).pk
    consumer_id = store().open_consumer(pk, threads, cluster, "machine")
    assert consumer_id is not None
    return store().begin(consumer_id, os.getpid())


def opened(broker: QueueBroker, tasks: Sequence[tuple[int | str, str]]) -> list[int]:
    """Return the consumers of sessions that a broker hands out; open those that it offers.

    They begin like those that workers open, and claim nothing.
    """
    found = []
    for _, package in tasks:
        task = SignedPackage.loads(package)
        if task["func"] == "flows.worker.worker.consume":
            found.append(task["args"][0])
            continue
        name, queue_id, threads, cluster = task["args"]
        broker.offers.end([name.encode()])
        pk = store().open_consumer(queue_id, threads, cluster, this_machine())
        assert pk is not None
        store().begin(pk, os.getpid() + len(found))
        found.append(pk)
    return found


def work(
    queue: str, threads: int = 4, hosts: HostPool | None = None, cluster: str = "cluster"
) -> None:
    """Work as one worker, with real script hosts: those of this process, or of a thread."""
    pk = Queue.objects.get(name=queue).pk
    worker = Worker(hosts or this_worker.hosts(), cluster)
    worker.take("", pk, threads)
    worker.work()


@contextmanager
def hosts_of_this_thread() -> Iterator[HostPool]:
    """Yield script hosts for a thread that works beside others: no two may share them."""
    worker = ThisWorker()
    try:
        yield worker.hosts()
    finally:
        worker.close_hosts()


def work_until_idle(flow: Flow, hosts: HostPool | None = None) -> None:
    """Run sessions on the flow's queues, as the broker would choose them, until none is left."""
    ids = set(flow.steps.values_list("queue_id", flat=True))
    for _ in range(1000):
        ready = servable(store().ready())
        queue = next((queue for queue in ready if queue.queue_id in ids), None)
        if queue is None:
            return
        work(Queue.objects.get(pk=queue.queue_id).name, hosts=hosts)
    raise AssertionError("the flow never came to rest")


def run_of(correlation_id: UUID) -> Run:
    return Run.objects.get(pk=correlation_id)


def counters(queue: str) -> tuple[int, int]:
    state = QueueState.objects.get(queue__name=queue)
    return state.depth, state.reserved
