"""The memory of `manage.py up` with all its processes during flow3, without the database."""

from __future__ import annotations

from contextlib import ExitStack

from flows.benchmark.caller import caller
from flows.benchmark.figures import Figures
from flows.benchmark.memory import PeakPss, in_mb, pss_kb
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.servers import CLUSTER, WEB, free_port, part_of, start_call, up
from flows.benchmark.workbench import BenchStep, workbench
from flows.benchmark.workers import require_no_cluster, warm_up
from flows.benchmark.workload import Options
from flows.benchmark.workloads.flow3 import STEPS
from flows.benchmark.workloads.http import SIZE
from flows.processes import command_of

# A script host is an isolated Python.
HOST_OPTIONS = {b"-I", b"-S"}


def measure(options: Options) -> Figures:
    """The web server has answered calls before, and the workers have run scripts.

    What `up` itself takes stands beside the sum: its share of what all of them share.
    """
    port = free_port()
    with ExitStack() as stack:
        user = stack.enter_context(caller())
        bench = stack.enter_context(workbench([BenchStep(TRIVIAL)] * STEPS, SIZE))
        require_no_cluster(bench)
        child = stack.enter_context(up(port))
        user.may_start(bench)
        start_call(port, user, bench).warm_up()
        bench.finish()
        warm_up(bench)
        parts = {
            "webMb": lambda: part_of(child.pid, WEB),
            "clusterMb": lambda: processes_of(child.pid, hosts=False),
            "hostsMb": lambda: processes_of(child.pid, hosts=True),
        }
        with PeakPss(parts) as peak:
            seconds = bench.seconds_of(options.runs)
        return {
            "runs": options.runs,
            "stepsPerSecond": round(STEPS * options.runs / seconds),
            "peakPssMb": peak.mb(),
            "parts": peak.mb_by_part(),
            "upMb": in_mb(pss_kb(child.pid)),
        }


def processes_of(up_pid: int, hosts: bool) -> list[int]:
    return [pid for pid in part_of(up_pid, CLUSTER) if is_host(pid) == hosts]


def is_host(pid: int) -> bool:
    return set(command_of(pid).split(b"\0")) >= HOST_OPTIONS
