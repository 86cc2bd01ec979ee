"""Single runs of three trivial steps on an idle system, from the start call to the end."""

from __future__ import annotations

import time

from flows.benchmark.figures import Figures, percentiles
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.workbench import CHUNK, BenchStep, workbench
from flows.benchmark.workers import workers_for
from flows.benchmark.workload import Options
from flows.benchmark.workloads.flow3 import STEPS

# The system is idle again after it.
BETWEEN_RUNS_SECONDS = 0.05


def measure(options: Options) -> Figures:
    with (
        workbench([BenchStep(TRIVIAL)] * STEPS, options.runs + CHUNK) as bench,
        workers_for(bench),
    ):
        found = []
        for number in range(options.runs):
            time.sleep(BETWEEN_RUNS_SECONDS)
            found.append(bench.one_run(number))
        return {"runs": options.runs, "latencyMs": percentiles(found)}
