"""Ten flows of five trivial steps at once, and in turn with them one such flow alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack

from flows.benchmark.figures import Figures, median_share
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.workbench import CHUNK, BenchStep, Workbench, workbench
from flows.benchmark.workers import running_cluster, warm_up
from flows.benchmark.workload import Options

FLOWS = 10
STEPS = 5


def measure(options: Options) -> Figures:
    """Both do the same number of runs, which is divided among the flows."""
    ten, one = [], []
    with ExitStack() as stack:
        made = [
            stack.enter_context(workbench([BenchStep(TRIVIAL)] * STEPS, options.runs + CHUNK))
            for _ in range(FLOWS)
        ]
        stack.enter_context(running_cluster(made[0]))
        for bench in made:
            warm_up(bench)
        for _ in range(options.rounds):
            one.append(steps_per_second(made[:1], options.runs))
            ten.append(steps_per_second(made, options.runs))
    return {
        "runs": options.runs,
        "rounds": options.rounds,
        "flows": FLOWS,
        "stepsPerSecond": round(statistics.median(ten)),
        "oneFlowStepsPerSecond": round(statistics.median(one)),
        "shareOfOneFlow": median_share(ten, one),
    }


def steps_per_second(benches: Sequence[Workbench], runs: int) -> float:
    """Start the runs of all flows in turn, and wait for the end of all."""
    each = max(runs // len(benches), 1)
    chunk = max(min(CHUNK, each // 2), 1)
    started_at = time.monotonic()
    for first in range(0, each, chunk):
        for bench in benches:
            bench.start_all(min(chunk, each - first))
    for bench in benches:
        bench.finish()
    found = STEPS * each * len(benches) / (time.monotonic() - started_at)
    for bench in benches:
        bench.forget_runs()
    return found
