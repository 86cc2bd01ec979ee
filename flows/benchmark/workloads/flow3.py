"""Three trivial steps: runs started in bulk, from the first start to the last end."""

from __future__ import annotations

import time

from flows.benchmark.figures import Figures, percentiles
from flows.benchmark.scripts import TRIVIAL, TRIVIAL_JAVASCRIPT
from flows.benchmark.workbench import CHUNK, BenchStep, workbench
from flows.benchmark.workers import workers_for
from flows.benchmark.workload import Options

STEPS = 3
LATENCY_RUNS = 50
SCRIPTS = {"python": TRIVIAL, "javascript": TRIVIAL_JAVASCRIPT}


def measure(options: Options) -> Figures:
    steps = [BenchStep(SCRIPTS[options.language])] * STEPS
    made = {"keep": options.keep, "language": options.language}
    with (
        workbench(steps, options.runs + CHUNK, **made) as bench,
        workers_for(bench) as workers,
        workers.watched(),
    ):
        started_at = time.monotonic()
        bench.start_all(options.runs)
        starts_seconds = time.monotonic() - started_at
        bench.finish()
        seconds = time.monotonic() - started_at
        latencies = [bench.one_run(number) for number in range(LATENCY_RUNS)]
        return {
            "runs": options.runs,
            "startsPerSecond": round(options.runs / starts_seconds),
            "stepsPerSecond": round(STEPS * options.runs / seconds),
            "latencyMs": percentiles(latencies),
            **workers.memory(),
        }
