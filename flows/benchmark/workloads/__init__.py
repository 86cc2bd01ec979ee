"""The workloads by their names: a module for each."""

from flows.benchmark.workload import Workload
from flows.benchmark.workloads import backlog, flow3, http, http_busy, io, refusals, tasks

WORKLOADS: dict[str, Workload] = {
    "flow3": Workload(flow3.measure, runs=20_000),
    "http": Workload(http.measure, seconds=8, rounds=3),
    "http-busy": Workload(http_busy.measure, seconds=8, rounds=3),
    "refusals": Workload(refusals.measure, seconds=8, rounds=3),
    "io": Workload(io.measure, runs=2_000),
    "backlog": Workload(backlog.measure, runs=1_000_000),
    "tasks": Workload(tasks.measure, runs=200),
}
