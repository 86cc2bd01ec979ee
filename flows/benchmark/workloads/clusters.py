"""1, 2 and 4 clusters: a step that sleeps 20 ms, on as many threads for each cluster."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack

from django.conf import settings

from flows.benchmark.cpu_times import (
    Reading,
    database_processes,
    descendants,
    reading,
    ticks_between,
    ticks_per_second,
)
from flows.benchmark.figures import Figures, share
from flows.benchmark.scripts import sleeping
from flows.benchmark.waiting import wait_until
from flows.benchmark.workbench import CHUNK, BenchStep, workbench
from flows.benchmark.workers import STOP_SECONDS, require_no_cluster, warm_up
from flows.benchmark.workload import Options
from flows.models import LiveCluster
from flows.store import store
from flows.up.children import cluster
from flows.up.supervisor import Child

COUNTS = {"one": 1, "two": 2, "four": 4}
SECONDS = 0.02
# Of each cluster.
THREADS = 16


def measure(options: Options) -> Figures:
    found = {name: with_clusters(count, options.runs) for name, count in COUNTS.items()}
    first, *_, last = (each["executionsPerSecond"] for each in found.values())
    return {"runs": options.runs, "clusters": found, "timesOfOne": share(last, first)}


def with_clusters(count: int, runs: int) -> Figures:
    """Measure them at work at the same time; each has as many runs."""
    step = BenchStep(sleeping(SECONDS), THREADS * count)
    with workbench([step], runs * count + CHUNK) as bench, ExitStack() as stack:
        require_no_cluster(bench)
        children = [started(stack) for _ in range(count)]
        # Those of before count for a while after their end.
        wait_until(lambda: LiveCluster.objects.alive(store().database.now()).count() == count)
        bench.finish()
        warm_up(bench)
        before = reading()
        each_second = runs * count / bench.seconds_of(runs * count)
        ideal = THREADS * count / SECONDS
        return {
            "executionsPerSecond": round(each_second, 1),
            "shareOfIdeal": share(each_second, ideal),
            **percents(before, reading(), children),
        }


def started(stack: ExitStack) -> Child:
    """Start a cluster that ends with the block."""
    child = cluster(settings.ASYNCENGINE_WORKERS)
    child.output = subprocess.DEVNULL
    child.start()
    stack.callback(child.wait, STOP_SECONDS)
    stack.callback(child.stop)
    return child


def percents(before: Reading, after: Reading, children: list[Child]) -> Figures:
    """Return what clusters and database have computed meanwhile, in percent of a core."""

    def percent(pids: set[int]) -> float:
        ticks = ticks_between(before, after, pids)
        return round(ticks / ticks_per_second() / (after.at - before.at) * 100, 1)

    servers = database_processes(after)
    return {
        "clustersPercent": percent(descendants(after.processes, [c.pid for c in children])),
        "databasePercent": percent(servers) if servers else None,
    }
