"""Tasks of django-q2, run in this process."""

from __future__ import annotations

from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.worker import worker

from flows.tasks.monitor import Monitor
from flows.tasks.queue import TaskQueue
from flows.worker.cluster import Timer


def work(broker):
    """Run what the broker hands out, as a cluster's worker and monitor do."""
    tasks, results = TaskQueue(), TaskQueue()
    for _ in range(OrmQ.objects.count()):
        for pk, package in broker.dequeue():
            tasks.put({**SignedPackage.loads(package), "ack_id": pk, "cluster": "asyncengine"})
    tasks.put("STOP")
    worker(tasks, results, Timer(), -1)
    results.put("STOP")
    Monitor(broker).run(results)
    for queue in (tasks, results):
        queue.shut()
