"""Throughput while another client holds a transaction open, which keeps vacuum back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import connection
from django.db.models import Sum

from flows.benchmark.figures import Figures, share
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.waiting import wait_until
from flows.benchmark.workbench import CHUNK, BenchStep, Workbench, workbench
from flows.benchmark.workers import workers_for
from flows.benchmark.workload import Options
from flows.benchmark.workloads.flow3 import STEPS
from flows.benchmark.workloads.http import SIZE
from flows.models import FlowTotals, QueueState

# The queues have work for a second or so.
LOW = 10 * CHUNK
LOOK_SECONDS = 0.1
WINDOW_SECONDS = 60.0

# Seconds since the beginning, and the runs that have completed by then.
Sample = tuple[float, int]


def measure(options: Options) -> Figures:
    with (
        workbench([BenchStep(TRIVIAL)] * STEPS, SIZE) as bench,
        workers_for(bench),
        at_work(bench),
        held_transaction(),
    ):
        samples = keep_busy(bench, options.seconds)
        window = min(WINDOW_SECONDS, options.seconds / 2)
        first = rate(samples, 0, window)
        last = rate(samples, samples[-1][0] - window, samples[-1][0])
        return {
            "seconds": options.seconds,
            "windowSeconds": window,
            "firstStepsPerSecond": round(STEPS * first),
            "stepsPerSecond": round(STEPS * last),
            "shareOfFirst": share(last, first),
        }


@contextmanager
def at_work(bench: Workbench) -> Iterator[None]:
    """Fill the queues and have the workers at it; wait for the last end after the block."""
    before = completed(bench)
    bench.start_all(LOW)
    wait_until(lambda: completed(bench) > before)
    yield
    bench.finish()


@contextmanager
def held_transaction() -> Iterator[None]:
    """Have another connection read, and keep its transaction open until the end of the block."""
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT txid_current()")
        yield
    finally:
        other.close()


def keep_busy(bench: Workbench, seconds: float) -> list[Sample]:
    """Start runs as fast as they are run; return samples of how many have completed."""
    queues = QueueState.objects.filter(queue__in=bench.queues())
    started_at, samples = time.monotonic(), list[Sample]()
    while not samples or samples[-1][0] < seconds:
        depth = queues.aggregate(depth=Sum("depth"))["depth"]
        if depth < LOW:
            bench.start_all(CHUNK)
        else:
            time.sleep(LOOK_SECONDS)
        samples.append((time.monotonic() - started_at, completed(bench)))
    return samples


def completed(bench: Workbench) -> int:
    return FlowTotals.objects.get(flow_name=bench.name).completed


def rate(samples: Sequence[Sample], begin: float, end: float) -> float:
    """Return how many completed a second between these times, by the samples nearest to them."""
    first = min(samples, key=lambda sample: abs(sample[0] - begin))
    last = min(samples, key=lambda sample: abs(sample[0] - end))
    return (last[1] - first[1]) / (last[0] - first[0]) if last[0] > first[0] else 0.0
