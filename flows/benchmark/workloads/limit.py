"""flow3 and, in turn with it, the raw SQL of the hot path: what the database could do at most."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

from django.db import connection

from flows.benchmark.figures import Figures, median_share
from flows.benchmark.helper import helpers
from flows.benchmark.raw_path import STEPS
from flows.benchmark.raw_tables import fill, raw_tables
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.waiting import BenchFailed
from flows.benchmark.workbench import CHUNK, BenchStep, payload, workbench
from flows.benchmark.workers import workers_for
from flows.benchmark.workload import Options
from flows.up.children import python_path

PROCESSES = 2


def measure(options: Options) -> Figures:
    steps = [BenchStep(TRIVIAL)] * STEPS
    raw, ours = [], []
    with workbench(steps, options.runs + CHUNK) as bench:
        for _ in range(options.rounds):
            raw.append(raw_steps_per_second(options.runs))
            with workers_for(bench):
                ours.append(STEPS * options.runs / bench.seconds_of(options.runs))
                bench.forget_runs()
    return {"runs": options.runs, "rounds": options.rounds, **beside(raw, ours)}


def beside(raw: Sequence[float], ours: Sequence[float]) -> Figures:
    return {
        "stepsPerSecond": round(statistics.median(ours)),
        "rawStepsPerSecond": round(statistics.median(raw)),
        "shareOfRaw": median_share(ours, raw),
    }


def raw_steps_per_second(runs: int) -> float:
    with raw_tables(connection) as prefix:
        fill(connection, prefix, map(payload, range(runs)))
        order = {
            "database": connection.vendor,
            "connection": plain_parameters(connection.get_connection_params()),
            "prefix": prefix,
        }
        with helpers("flows.benchmark.raw_path", [order] * PROCESSES, python_path()) as found:
            started_at = time.monotonic()
            for helper in found:
                helper.go()
            done = sum(helper.result()["done"] for helper in found)
            seconds = time.monotonic() - started_at
    if done != runs:
        raise BenchFailed(f"the raw path ran {done} of {runs} runs")
    return STEPS * runs / seconds


def plain_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what a process needs to connect: no objects of Django's or the driver's."""
    if connection.vendor == "sqlite":
        return {"dbname": str(parameters["database"])}
    return {name: each for name, each in parameters.items() if isinstance(each, str | int)}
