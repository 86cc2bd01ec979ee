"""One step that computes for 5 ms. The ideal is that of every core that workers can use."""

from __future__ import annotations

import os

from django.conf import settings

from flows.benchmark.figures import Figures, share
from flows.benchmark.scripts import COMPUTING, CPU_SECONDS
from flows.benchmark.workbench import CHUNK, BenchStep, workbench
from flows.benchmark.workers import SELDOM, workers_for
from flows.benchmark.workload import Options


def measure(options: Options) -> Figures:
    with (
        workbench([BenchStep(COMPUTING)], options.runs + CHUNK) as bench,
        workers_for(bench) as workers,
        workers.watched(every=SELDOM),
    ):
        each_second = options.runs / bench.seconds_of(options.runs)
        ideal = usable_cores() / CPU_SECONDS
        return {
            "runs": options.runs,
            "executionsPerSecond": round(each_second, 1),
            "idealPerSecond": round(ideal),
            "shareOfIdeal": share(each_second, ideal),
            **workers.memory(),
        }


def usable_cores() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(cores, settings.ASYNCENGINE_WORKERS)
