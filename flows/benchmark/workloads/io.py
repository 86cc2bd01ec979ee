"""One step that sleeps 50 ms on 20 threads. The ideal is 400 executions a second."""

from __future__ import annotations

from flows.benchmark.figures import Figures, share
from flows.benchmark.scripts import SLEEPING
from flows.benchmark.workbench import CHUNK, BenchStep, workbench
from flows.benchmark.workers import SELDOM, workers_for
from flows.benchmark.workload import Options

THREADS = 20
IDEAL = 400


def measure(options: Options) -> Figures:
    with (
        workbench([BenchStep(SLEEPING, THREADS)], options.runs + CHUNK) as bench,
        workers_for(bench) as workers,
        workers.watched(every=SELDOM),
    ):
        each_second = options.runs / bench.seconds_of(options.runs)
        return {
            "runs": options.runs,
            "executionsPerSecond": round(each_second, 1),
            "idealPerSecond": IDEAL,
            "shareOfIdeal": share(each_second, IDEAL),
            **workers.memory(),
        }
