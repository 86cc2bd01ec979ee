"""What PostgreSQL has written and computed, between two readings of its counters."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from flows.benchmark.cpu_times import (
    Reading,
    descendants,
    reading,
    ticks_between,
    ticks_per_second,
)
from flows.benchmark.figures import Figures

# Since PostgreSQL 18 the syncs of the log are counted with all others.
SYNCS_IN_IO = 180_000
# Statistics of a session are told at its end, those of our own when asked for.
COUNTERS = """
SELECT pg_stat_force_next_flush(), xact_commit, tup_inserted + tup_updated + tup_deleted,
    ({syncs})
FROM pg_stat_database WHERE datname = current_database()
"""
SYNCS = "SELECT wal_sync FROM pg_stat_wal"
SYNCS_OF_IO = "SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'"
BYTES = """
SELECT sum(pg_table_size(oid)), sum(pg_indexes_size(oid)) FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
"""


@dataclass(frozen=True)
class Counters:
    """The server's own. `syncs` are those of the write-ahead log."""

    commits: int
    changed_rows: int
    syncs: int


@dataclass(frozen=True)
class Work:
    """What the server had written by then, and the processes of the machine."""

    wal_bytes: int
    machine: Reading


@dataclass(frozen=True)
class Sizes:
    tables: int
    indexes: int


def counters() -> Counters:
    with connection.cursor() as cursor:
        version = cursor.connection.info.server_version
        syncs = SYNCS_OF_IO if version >= SYNCS_IN_IO else SYNCS
        # The first statement tells its own, the second one sees it.
        for _ in range(2):
            cursor.execute(COUNTERS.format(syncs=syncs))
            _, *found = cursor.fetchone()
    return Counters(*map(int, found))


def work() -> Work:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
        (wal_bytes,) = cursor.fetchone()
    return Work(int(wal_bytes), reading())


def sizes() -> Sizes:
    with connection.cursor() as cursor:
        cursor.execute(BYTES)
        return Sizes(*map(int, cursor.fetchone()))


def each(before: Work, after: Work, count: int, *, own: bool) -> Figures:
    """Return log and computing for each of `count`, of our own session or of all the others.

    Computing is None where the server is on another machine.
    """
    ours, server = server_processes(after.machine)
    pids = ours if own else server - ours
    milliseconds = None
    if server:
        ticks = ticks_between(before.machine, after.machine, pids)
        milliseconds = ticks / ticks_per_second() * 1000
    return {
        "walBytes": round((after.wal_bytes - before.wal_bytes) / count),
        "databaseMs": None if milliseconds is None else round(milliseconds / count, 4),
    }


def server_processes(machine: Reading) -> tuple[set[int], set[int]]:
    """Return the process of our own session, and all of the server; none where it is not here."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (own,) = cursor.fetchone()
    process = machine.processes.get(own)
    if process is None or process.name != "postgres":
        return set(), set()
    return {own}, descendants(machine.processes, [process.parent])
