"""One run that makes branches with a small payload each, and joins them."""

from __future__ import annotations

import time

import orjson

from flows import engine
from flows.benchmark.figures import Figures
from flows.benchmark.scripts import BRANCHING, COUNTING, TRIVIAL
from flows.benchmark.waiting import BenchFailed, wait_until
from flows.benchmark.workbench import BenchStep, Workbench, workbench
from flows.benchmark.workers import running_cluster
from flows.benchmark.workload import Options
from flows.models import Run

WARM_UP_BRANCHES = 200
STEPS = (BenchStep(BRANCHING), BenchStep(TRIVIAL), BenchStep(COUNTING, join=True))


def measure(options: Options) -> Figures:
    """Its `runs` are branches."""
    size = max(options.runs, WARM_UP_BRANCHES)
    with workbench(STEPS, size) as bench, running_cluster(bench, {"branches": 2}):
        seconds_of(bench, WARM_UP_BRANCHES)
        seconds = seconds_of(bench, options.runs)
        return {"branches": options.runs, "branchesPerSecond": round(options.runs / seconds)}


def seconds_of(bench: Workbench, branches: int) -> float:
    started_at = time.monotonic()
    started = engine.start(bench.name, {"branches": branches})
    runs = Run.objects.filter(pk=started.correlation_id)
    wait_until(runs.filter(status__in=Run.FINISHED).exists)
    seconds = time.monotonic() - started_at
    run = runs.get()
    if run.status != Run.Status.COMPLETED:
        raise BenchFailed(f"the run with the branches is {run.status}: {run.error[-500:]}")
    if orjson.loads(run.result or "null")["payload"] != {"branches": branches}:
        raise BenchFailed(f"the join did not get all branches: {run.result}")
    return seconds
