"""Starts by HTTP with a token, and in turn with them those of the bare view on the same server."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from flows.benchmark.caller import caller
from flows.benchmark.figures import Figures, share
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.servers import Target, bare_view, own_server, start_call
from flows.benchmark.workbench import BenchStep, workbench
from flows.benchmark.workload import Options

CONNECTIONS = (1, 16, 64)
# More than any measurement starts.
SIZE = 100_000_000
# What a load has measured: starts a second and milliseconds.
Result = Mapping[str, Any]


def measure(options: Options) -> Figures:
    with (
        caller() as user,
        workbench([BenchStep(TRIVIAL)], SIZE, paused=True) as bench,
        bare_view() as bare,
        own_server() as port,
    ):
        user.may_start(bench)
        ours = start_call(port, user, bench)
        bare.warm_up()
        ours.warm_up()
        return {
            "rounds": options.rounds,
            "seconds": options.seconds,
            **{
                f"connections{number}": in_turn(bare, ours, number, options)
                for number in CONNECTIONS
            },
        }


def in_turn(bare: Target, ours: Target, connections: int, options: Options) -> Figures:
    pairs = []
    for _ in range(options.rounds):
        alone = bare.load(connections, options.seconds)
        pairs.append((alone, ours.load(connections, options.seconds)))
    return beside(pairs)


def beside(rounds: Sequence[tuple[Result, Result]]) -> Figures:
    """Return the medians of rounds of the bare view and ours; ratios are taken in each round."""

    def median(number: int, name: str) -> float:
        return statistics.median(pair[number][name] for pair in rounds)

    starts = [share(ours["perSecond"], bare["perSecond"]) for bare, ours in rounds]
    waits = [share(ours["p50Ms"], bare["p50Ms"]) for bare, ours in rounds]
    return {
        "startsPerSecond": round(median(1, "perSecond")),
        "p50Ms": round(median(1, "p50Ms"), 2),
        "p99Ms": round(median(1, "p99Ms"), 2),
        "shareOfBare": round(statistics.median(starts), 3),
        "timesOfBareP50": round(statistics.median(waits), 3),
        "bare": {
            "startsPerSecond": round(median(0, "perSecond")),
            "p50Ms": round(median(0, "p50Ms"), 2),
            "p99Ms": round(median(0, "p99Ms"), 2),
        },
    }
