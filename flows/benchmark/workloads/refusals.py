"""Starts by HTTP that are refused because the queue is full."""

from __future__ import annotations

import statistics
from dataclasses import replace

from flows import engine
from flows.benchmark.caller import caller
from flows.benchmark.figures import Figures
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.servers import own_server, start_call
from flows.benchmark.workbench import BenchStep, payload, workbench
from flows.benchmark.workload import Options

CONNECTIONS = 64
TOO_MANY_REQUESTS = 429


def measure(options: Options) -> Figures:
    with (
        caller() as user,
        workbench([BenchStep(TRIVIAL)], size=1, paused=True) as bench,
        own_server() as port,
    ):
        user.may_start(bench)
        engine.start(bench.name, payload(0))
        refused = replace(start_call(port, user, bench), status=TOO_MANY_REQUESTS)
        refused.warm_up()
        results = [refused.load(CONNECTIONS, options.seconds) for _ in range(options.rounds)]
        return {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "connections": CONNECTIONS,
            "refusalsPerSecond": round(statistics.median(each["perSecond"] for each in results)),
            "p50Ms": round(statistics.median(each["p50Ms"] for each in results), 2),
            "p99Ms": round(statistics.median(each["p99Ms"] for each in results), 2),
        }
