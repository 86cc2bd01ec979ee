"""What a start and a step cost PostgreSQL: with it one calculates what a server carries.

Trivial scripts end together, and many steps share a transaction; those that sleep end one by one.
"""

from __future__ import annotations

import time

from flows.benchmark.database_costs import Counters, Sizes, counters, each, sizes, work
from flows.benchmark.figures import Figures
from flows.benchmark.scripts import TRIVIAL, sleeping
from flows.benchmark.workbench import CHUNK, BenchStep, workbench
from flows.benchmark.workers import running_cluster, warm_up
from flows.benchmark.workload import Options
from flows.benchmark.workloads.clusters import SECONDS, THREADS
from flows.benchmark.workloads.flow3 import STEPS

# They take that many times as long.
FEWER = 10


def measure(options: Options) -> Figures:
    fewer = max(options.runs // FEWER, 1)
    return {
        "runs": options.runs,
        "trivial": costs(BenchStep(TRIVIAL), options.runs),
        "sleeping": costs(BenchStep(sleeping(SECONDS), THREADS), fewer),
    }


def costs(step: BenchStep, runs: int) -> Figures:
    with workbench([step] * STEPS, runs + CHUNK) as bench:
        with running_cluster(bench) as workers:
            warm_up(bench)
            kept = sizes()
            bench.queues().update(paused=True)
            before = work()
            bench.start_all(runs)
            started = work()
            counted, began_at = counters(), time.monotonic()
            bench.queues().update(paused=False)
            bench.finish()
            seconds, ended = time.monotonic() - began_at, work()
            grown = sizes()
            workers.stop()
        steps = STEPS * runs
        return {
            "stepsPerSecond": round(steps / seconds),
            "start": each(before, started, runs, own=True),
            "step": each(started, ended, steps, own=False)
            | of_step(counted, counters(), steps, seconds),
            "keptOfRun": of_run(kept, grown, runs),
        }


def of_step(before: Counters, after: Counters, steps: int, seconds: float) -> Figures:
    """The counters of a session are complete at its end only: the workers have ended by now."""
    syncs = after.syncs - before.syncs
    return {
        "changedRows": round((after.changed_rows - before.changed_rows) / steps, 2),
        "transactions": round((after.commits - before.commits) / steps, 3),
        "syncs": round(syncs / steps, 4),
        "syncsPerSecond": round(syncs / seconds),
    }


def of_run(before: Sizes, after: Sizes, runs: int) -> Figures:
    return {
        "tableBytes": round((after.tables - before.tables) / runs),
        "indexBytes": round((after.indexes - before.indexes) / runs),
    }
