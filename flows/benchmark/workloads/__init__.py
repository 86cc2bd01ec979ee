"""The workloads by their names: a module for each."""

from flows.benchmark.workload import Workload
from flows.benchmark.workloads import (
    backlog,
    bulk,
    flow3,
    http,
    http_busy,
    io,
    limit,
    refusals,
    tasks,
)

WORKLOADS: dict[str, Workload] = {
    "flow3": Workload(flow3.measure, runs=20_000),
    "limit": Workload(limit.measure, runs=20_000, rounds=3),
    "http": Workload(http.measure, seconds=8, rounds=3),
    "http-busy": Workload(http_busy.measure, seconds=8, rounds=3),
    "refusals": Workload(refusals.measure, seconds=8, rounds=3),
    "bulk": Workload(bulk.measure, runs=20_000, rounds=3),
    "io": Workload(io.measure, runs=2_000),
    "backlog": Workload(backlog.measure, runs=1_000_000),
    "tasks": Workload(tasks.measure, runs=200),
}
