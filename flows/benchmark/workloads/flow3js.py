"""flow3 with scripts in JavaScript, and in turn with it the same flow in Python."""

from __future__ import annotations

import statistics

from flows.benchmark.figures import Figures, median_share
from flows.benchmark.scripts import TRIVIAL, TRIVIAL_JAVASCRIPT
from flows.benchmark.workbench import CHUNK, BenchStep, Workbench, workbench
from flows.benchmark.workers import running_cluster, warm_up
from flows.benchmark.workload import Options
from flows.benchmark.workloads.flow3 import STEPS


def measure(options: Options) -> Figures:
    size = options.runs + CHUNK
    own, python = [], []
    with (
        workbench([BenchStep(TRIVIAL)] * STEPS, size) as plain,
        workbench([BenchStep(TRIVIAL_JAVASCRIPT)] * STEPS, size, language="javascript") as bench,
        running_cluster(plain),
    ):
        for _ in range(options.rounds):
            python.append(steps_per_second(plain, options.runs))
            own.append(steps_per_second(bench, options.runs))
    return {
        "runs": options.runs,
        "rounds": options.rounds,
        "stepsPerSecond": round(statistics.median(own)),
        "pythonStepsPerSecond": round(statistics.median(python)),
        "shareOfPython": median_share(own, python),
    }


def steps_per_second(bench: Workbench, runs: int) -> float:
    warm_up(bench)
    found = STEPS * runs / bench.seconds_of(runs)
    bench.forget_runs()
    return found
