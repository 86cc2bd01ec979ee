"""Claiming a batch while many messages wait, and in a nearly empty queue."""

from __future__ import annotations

import os
import statistics
import time

from django.db import transaction

from flows.benchmark.figures import Figures, share
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.workbench import CHUNK, BenchStep, Workbench, workbench
from flows.benchmark.workload import Options
from flows.plan import StepPlan, flow_plan
from flows.store import Lease, store

CLAIMS = 20
BATCH = 100


def measure(options: Options) -> Figures:
    runs = max(options.runs, 2 * CHUNK)
    with workbench([BenchStep(TRIVIAL, 1)], runs + CHUNK, paused=True) as bench:
        bench.start_all(CHUNK)
        few = claim_milliseconds(bench)
        bench.start_all(runs - CHUNK)
        many = claim_milliseconds(bench)
    return {
        "runs": runs,
        "claimMs": {f"waiting{CHUNK}": few, f"waiting{runs}": many},
        "timesOfFew": share(many, few),
    }


def claim_milliseconds(bench: Workbench) -> float:
    """Return the median milliseconds of claiming a batch, each claim rolled back."""
    plan = flow_plan(bench.name).require_runnable()
    bench.queues().update(paused=False)
    times = []
    for _ in range(CLAIMS):
        with transaction.atomic():
            lease = bench_lease(plan)
            started_at = time.perf_counter()
            store().claim(lease, lambda plan, threads: BATCH)
            times.append((time.perf_counter() - started_at) * 1000)
            transaction.set_rollback(True)
    bench.queues().update(paused=True)
    return round(statistics.median(times), 3)


def bench_lease(plan: StepPlan) -> Lease:
    consumer_id = store().open_consumer(plan.queue_id, 1, "bench", "bench")
    assert consumer_id is not None
    return store().begin(consumer_id, os.getpid())
