"""What processes and the whole machine have computed, from /proc. Linux only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

from flows.benchmark.waiting import BenchFailed


@dataclass(frozen=True, slots=True)
class Process:
    """A process in /proc. Its ticks have those of the children that it has waited for."""

    parent: int
    name: str
    ticks: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The machine at one moment: its ticks, those of all processes, and those its host stole."""

    at: float
    ticks: int
    busy: int
    stolen: int
    processes: Mapping[int, Process]


def database_processes(reading: Reading) -> set[int]:
    """Return PostgreSQL's backends for this database, but for our own, where they are here."""
    if connection.vendor != "postgresql":
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
        pids = {pid for (pid,) in cursor.fetchall()}
    named = {pid for pid, process in reading.processes.items() if process.name == "postgres"}
    return pids & named


def reading() -> Reading:
    found = read_machine()
    if found is None:
        raise BenchFailed("there is no /proc that tells what processes compute")
    return found


def ticks_per_second() -> int:
    return os.sysconf("SC_CLK_TCK")


def read_machine(proc: Path = Path("/proc")) -> Reading | None:
    """Return a reading, None where there is no /proc."""
    try:
        stat = (proc / "stat").read_text()
    except OSError:
        return None
    return Reading(time.monotonic(), *machine_ticks(stat), processes_in(proc))


def machine_ticks(stat: str) -> tuple[int, int, int]:
    """Return all ticks, those of processes and the stolen ones, from the text of /proc/stat."""
    fields = list(map(int, stat.split("\n", 1)[0].split()[1:]))
    user, nice, system = fields[:3]
    # The last two, of guests, are in those of users already.
    return sum(fields[:8]), user + nice + system, fields[7]


def processes_in(proc: Path) -> dict[int, Process]:
    found = {}
    for path in proc.glob("[0-9]*/stat"):
        try:
            found[int(path.parent.name)] = process_of(path.read_text())
        except (OSError, ValueError, IndexError):
            # It has ended.
            continue
    return found


def process_of(stat: str) -> Process:
    """Return the process of a text of /proc/PID/stat. A name may have spaces and brackets."""
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    return Process(int(fields[1]), head.partition("(")[2], sum(map(int, fields[11:15])))


def descendants(processes: Mapping[int, Process], roots: Iterable[int]) -> set[int]:
    """Return the roots with all that descend from them."""
    found = {*roots}
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    open_ones = list(found)
    while open_ones:
        new = [pid for pid in children.get(open_ones.pop(), ()) if pid not in found]
        found.update(new)
        open_ones += new
    return found


def ticks_between(before: Reading, after: Reading, pids: Iterable[int]) -> int:
    """Return what these processes have computed. Those that are new have computed it all since.

    What has ended is in the ticks of its parent.
    """
    return sum(_ticks(after, pid) - _ticks(before, pid) for pid in pids if pid in after.processes)


def _ticks(reading: Reading, pid: int) -> int:
    process = reading.processes.get(pid)
    return process.ticks if process else 0
