"""The memory of web server, cluster and script hosts during flow3, without the database."""

from __future__ import annotations

from contextlib import ExitStack

from flows.benchmark.caller import caller
from flows.benchmark.family import family
from flows.benchmark.figures import Figures
from flows.benchmark.memory import PeakPss
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.servers import HOST, free_port, running, start_call
from flows.benchmark.workbench import BenchStep, workbench
from flows.benchmark.workers import Workers, require_no_cluster, running_cluster, warm_up
from flows.benchmark.workload import Options
from flows.benchmark.workloads.flow3 import STEPS
from flows.benchmark.workloads.http import SIZE
from flows.processes import command_of
from flows.up.children import web

# A script host is an isolated Python.
HOST_OPTIONS = {b"-I", b"-S"}


def measure(options: Options) -> Figures:
    """The web server has answered calls before, and the workers have run scripts."""
    port = free_port()
    server = web(HOST, port)
    with ExitStack() as stack:
        user = stack.enter_context(caller())
        bench = stack.enter_context(workbench([BenchStep(TRIVIAL)] * STEPS, SIZE))
        require_no_cluster(bench)
        stack.enter_context(running(server, port))
        workers = stack.enter_context(running_cluster(bench))
        user.may_start(bench)
        start_call(port, user, bench).warm_up()
        bench.finish()
        warm_up(bench)
        parts = {
            "webMb": lambda: family(server.pid),
            "clusterMb": lambda: processes_of(workers, hosts=False),
            "hostsMb": lambda: processes_of(workers, hosts=True),
        }
        with PeakPss(parts) as peak:
            seconds = bench.seconds_of(options.runs)
        return {
            "runs": options.runs,
            "stepsPerSecond": round(STEPS * options.runs / seconds),
            "peakPssMb": peak.mb(),
            "parts": peak.mb_by_part(),
        }


def processes_of(workers: Workers, hosts: bool) -> list[int]:
    return [pid for pid in workers.processes() if is_host(pid) == hosts]


def is_host(pid: int) -> bool:
    return set(command_of(pid).split(b"\0")) >= HOST_OPTIONS
