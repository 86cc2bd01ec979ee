"""Starts by HTTP while workers run what is started, against the bare view without workers."""

from __future__ import annotations

from flows.benchmark.caller import caller
from flows.benchmark.figures import Figures
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.servers import Target, bare_view, own_server, start_call
from flows.benchmark.workbench import BenchStep, Workbench, workbench
from flows.benchmark.workers import workers_for
from flows.benchmark.workload import Options
from flows.benchmark.workloads.http import SIZE, Result, beside

CONNECTIONS = 16


def measure(options: Options) -> Figures:
    with (
        caller() as user,
        workbench([BenchStep(TRIVIAL)], SIZE) as bench,
        bare_view() as bare,
        own_server() as port,
    ):
        user.may_start(bench)
        ours = start_call(port, user, bench)
        bare.warm_up()
        rounds = []
        for _ in range(options.rounds):
            alone = bare.load(CONNECTIONS, options.seconds)
            rounds.append((alone, busy(ours, bench, options.seconds)))
        return {
            "rounds": options.rounds,
            "seconds": options.seconds,
            f"connections{CONNECTIONS}": beside(rounds),
        }


def busy(ours: Target, bench: Workbench, seconds: float) -> Result:
    """Start runs while workers run them; they end before the next measurement."""
    with workers_for(bench):
        ours.warm_up()
        result = ours.load(CONNECTIONS, seconds)
        bench.finish()
        return result
