"""The workloads by their names: a module for each."""

from flows.benchmark.workload import Workload
from flows.benchmark.workloads import (
    backlog,
    bulk,
    cpu,
    fanout,
    flow3,
    flow3js,
    flows10,
    held,
    http,
    http_busy,
    idle,
    io,
    latency,
    limit,
    memory,
    refusals,
    reprocessing,
    tasks,
)

WORKLOADS: dict[str, Workload] = {
    "flow3": Workload(flow3.measure, runs=20_000),
    "flow3js": Workload(flow3js.measure, runs=20_000, rounds=3),
    "limit": Workload(limit.measure, runs=60_000, rounds=3),
    "latency": Workload(latency.measure, runs=200),
    "http": Workload(http.measure, seconds=8, rounds=3),
    "http-busy": Workload(http_busy.measure, seconds=8, rounds=3),
    "refusals": Workload(refusals.measure, seconds=8, rounds=3),
    "bulk": Workload(bulk.measure, runs=20_000, rounds=3),
    "io": Workload(io.measure, runs=2_000),
    "cpu": Workload(cpu.measure, runs=4_000),
    "backlog": Workload(backlog.measure, runs=1_000_000),
    "flows10": Workload(flows10.measure, runs=20_000, rounds=3),
    "fanout": Workload(fanout.measure, runs=100_000),
    "reprocessing": Workload(reprocessing.measure, runs=100_000),
    "memory": Workload(memory.measure, runs=20_000),
    "idle": Workload(idle.measure, seconds=60),
    "held": Workload(held.measure, seconds=1_800, databases=frozenset({"postgresql"})),
    "tasks": Workload(tasks.measure, runs=200),
}
