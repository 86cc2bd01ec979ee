"""The CPU time of `manage.py up` with all its processes, and of the database, without work."""

from __future__ import annotations

import time

from flows.benchmark.caller import caller
from flows.benchmark.cpu_times import (
    Reading,
    database_processes,
    descendants,
    reading,
    ticks_between,
    ticks_per_second,
)
from flows.benchmark.figures import Figures
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.servers import CLUSTER, WEB, free_port, part_of, up
from flows.benchmark.workbench import BenchStep, workbench
from flows.benchmark.workers import require_no_cluster
from flows.benchmark.workload import Options

# What has begun with the last run has ended by then.
SETTLE_SECONDS = 5.0
PARTS = {"webPercent": WEB, "clusterPercent": CLUSTER}


def measure(options: Options) -> Figures:
    # With a user there is no administrator to be made.
    with caller(), workbench([BenchStep(TRIVIAL)], size=10) as bench:
        require_no_cluster(bench)
        with up(free_port()) as child:
            bench.finish()
            time.sleep(min(SETTLE_SECONDS, options.seconds))
            before = reading()
            time.sleep(options.seconds)
            after = reading()
            servers = database_processes(after)
            return {"seconds": options.seconds, **percents(before, after, child.pid, servers)}


def percents(before: Reading, after: Reading, up_pid: int, servers: set[int]) -> Figures:
    """Return what was computed, in percent of a core."""

    def percent(pids: set[int]) -> float:
        ticks = ticks_between(before, after, pids)
        return round(ticks / ticks_per_second() / (after.at - before.at) * 100, 2)

    all_of_up = descendants(after.processes, [up_pid])
    parts = {name: set(part_of(up_pid, word)) for name, word in PARTS.items()}
    return {
        "idlePercent": percent(all_of_up | servers),
        "parts": {
            **{name: percent(pids) for name, pids in parts.items()},
            "upPercent": percent({up_pid}),
            "databasePercent": percent(servers) if servers else None,
        },
    }
