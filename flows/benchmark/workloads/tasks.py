"""Single runs of a trivial flow beside twenty long tasks of django-q2."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from flows.benchmark.figures import Figures, percentiles
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.workbench import CHUNK, BenchStep, workbench
from flows.benchmark.workers import workers_for
from flows.benchmark.workload import Options
from flows.tasks.allowed_tasks import BENCH_TASK

ALONE_RUNS = 50
TASKS = 20
BETWEEN_RUNS_SECONDS = 0.02


def measure(options: Options) -> Figures:
    with (
        workbench([BenchStep(TRIVIAL)], options.runs + CHUNK) as bench,
        workers_for(bench),
    ):
        alone = [bench.one_run(number) for number in range(ALONE_RUNS)]
        with long_tasks() as waiting:
            beside = []
            for number in range(options.runs):
                beside.append(bench.one_run(number))
                time.sleep(BETWEEN_RUNS_SECONDS)
            left = waiting.count()
        return {
            "taskWorkers": settings.ASYNCENGINE_TASK_WORKERS,
            "runs": options.runs,
            "tasks": TASKS,
            "tasksLeft": left,
            "latencyMs": percentiles(beside),
            "latencyAloneMs": percentiles(alone),
        }


@contextmanager
def long_tasks() -> Iterator[QuerySet[OrmQ]]:
    """Queue long tasks; yield those that have not ended, and remove them afterwards."""
    broker = get_broker()
    task: dict[str, Any] = {"name": "bench", "func": BENCH_TASK, "args": (), "kwargs": {}}
    task |= {"started": timezone.now(), "save": False}
    ids = [
        broker.enqueue(SignedPackage.dumps({**task, "id": secrets.token_hex(16)}))
        for _ in range(TASKS)
    ]
    rows = OrmQ.objects.filter(pk__in=ids)
    try:
        yield rows
    finally:
        rows.delete()
