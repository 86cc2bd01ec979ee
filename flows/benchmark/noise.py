"""Whether the machine was quiet enough for figures to be compared.

Three signs: time that the host of a virtual machine took (steal), what processes computed that are
no part of the measurement, and how evenly a loop of fixed length ran.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from flows.benchmark.cpu_times import (
    Reading,
    descendants,
    read_machine,
    ticks_between,
)
from flows.benchmark.figures import Figures, percentile
from flows.processes import command_of

# The part of the measurement that is no child of it.
DATABASE_SERVER = "postgres"
BEFORE_SECONDS = 0.5
LOOPS = 25
LOOP_LENGTH = 50_000
# Beyond these, of one core but for the steal, which is of all cores.
MOST_PERCENT = {
    "stealPercent": 1.0,
    "othersBeforePercent": 10.0,
    "othersPercent": 10.0,
    "loopSpreadPercent": 50.0,
}
MEANING = {
    "stealPercent": "the host of this machine took {} % of its time",
    "othersBeforePercent": "other processes used {} % of a core before it began",
    "othersPercent": "other processes used {} % of a core meanwhile",
    "loopSpreadPercent": "a loop of fixed length varied by {} %",
}


class NoiseMeter:
    """Looks at the machine before a measurement and after it."""

    def __init__(self) -> None:
        self._loops = loop_seconds()
        first = read_machine()
        time.sleep(BEFORE_SECONDS)
        self._begun = read_machine()
        self._before = others_percent(first, self._begun)

    def figures(self) -> Figures:
        """Return what was seen, with a sentence for each sign of noise."""
        ended = read_machine()
        seen = {
            "stealPercent": steal_percent(self._begun, ended),
            "othersBeforePercent": self._before,
            "othersPercent": others_percent(self._begun, ended),
            "loopSpreadPercent": spread_percent([*self._loops, *loop_seconds()]),
        }
        return {**seen, "warnings": warnings_of(seen)}


def warnings_of(seen: Figures) -> list[str]:
    """Return a sentence for each figure that is beyond what a quiet machine has."""
    return [
        MEANING[name].format(seen[name])
        for name, most in MOST_PERCENT.items()
        if (seen.get(name) or 0.0) > most
    ]


def loop_seconds() -> list[float]:
    """Return how long a loop took that does the same each time."""
    times = []
    for _ in range(LOOPS):
        started_at = time.perf_counter()
        sum(range(LOOP_LENGTH))
        times.append(time.perf_counter() - started_at)
    return times


def spread_percent(times: Sequence[float]) -> float:
    """Return by how much nine in ten of the times exceed the least at most."""
    return round((percentile(times, 0.9) / min(times) - 1) * 100, 1)


def steal_percent(before: Reading | None, after: Reading | None) -> float | None:
    if before is None or after is None or after.ticks == before.ticks:
        return None
    return round((after.stolen - before.stolen) / (after.ticks - before.ticks) * 100, 2)


def others_percent(before: Reading | None, after: Reading | None) -> float | None:
    """Return what other processes computed between two readings, in percent of one core.

    What is not ours is theirs: also of processes that began and ended meanwhile, and of those that
    this one cannot see.
    """
    if before is None or after is None or after.ticks == before.ticks:
        return None
    ours = ticks_between(before, after, own(after))
    others = max(after.busy - before.busy - ours, 0)
    of_one_core = (after.ticks - before.ticks) / (os.cpu_count() or 1)
    return round(others / of_one_core * 100, 1)


def own(reading: Reading) -> set[int]:
    """Return the processes that are a part of a measurement.

    These are this one, its installation where that runs, their children, and the database, but
    for one on this machine in a container of its own.
    """
    program = sys.argv[0].encode()
    roots = {pid for pid in reading.processes if program in command_of(pid).split(b"\0")}
    servers = {pid for pid, process in reading.processes.items() if process.name == DATABASE_SERVER}
    return descendants(reading.processes, {os.getpid(), *roots}) | servers
