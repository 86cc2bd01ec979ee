"""Bulk starts into a paused queue, and in turn with them an insert of the same two rows."""

from __future__ import annotations

import re
import secrets
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from flows.benchmark.figures import Figures, median_share
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.workbench import CHUNK, BenchStep, Workbench, payload, workbench
from flows.benchmark.workload import Options
from flows.models import Message, Run
from flows.models.message import DEFAULT_PRIORITY
from flows.plan import flow_plan
from flows.starts.new_run import new_run
from flows.store import store
from flows.store.rows import start_row

Row = Mapping[str, Any]
# The value of each column, by its name in a row.
RUN = {
    "correlation_id": "id",
    "flow_version_id": "flow_version_id",
    "status": "status",
    "created_at": "created_at",
    "error": "empty",
    "warnings": "zero",
    "branches": "one",
}
MESSAGE = {
    "id": "id",
    "run_id": "run_id",
    "step_id": "step_id",
    "queue_id": "queue_id",
    "body": "body",
    "deliveries": "zero",
    "available_at": "available_at",
    "priority": "priority",
    "bypasses_pause": "bypasses_pause",
    "delayed": "delayed",
    "branch": "branch",
    "suspects": "zero",
    "pending_outputs": "no",
}
SAME = {"status": "QUEUED", "empty": "", "zero": 0, "one": 1, "no": False}


def measure(options: Options) -> Figures:
    raw, ours = [], []
    size = (options.runs + CHUNK) * options.rounds
    with workbench([BenchStep(TRIVIAL)], size, paused=True) as bench:
        # The first start makes the flow's version.
        bench.start_all(1)
        for _ in range(options.rounds):
            raw.append(options.runs / raw_seconds(bench, options.runs))
            started_at = time.monotonic()
            bench.start_all(options.runs)
            ours.append(options.runs / (time.monotonic() - started_at))
    return {
        "runs": options.runs,
        "rounds": options.rounds,
        "startsPerSecond": round(statistics.median(ours)),
        "rawStartsPerSecond": round(statistics.median(raw)),
        "shareOfRaw": median_share(ours, raw),
    }


def raw_seconds(bench: Workbench, runs: int) -> float:
    """Insert the rows of as many runs, made beforehand, in transactions of the same size."""
    rows = list(rows_of(bench, runs))
    with copies() as (run, message):
        started_at = time.monotonic()
        for first in range(0, runs, CHUNK):
            chunk = rows[first : first + CHUNK]
            with transaction.atomic():
                insert(run, RUN, chunk)
                insert(message, MESSAGE, chunk)
        return time.monotonic() - started_at


def rows_of(bench: Workbench, runs: int) -> Iterator[Row]:
    plan, now = flow_plan(bench.name), store().database.time_of_start()
    for number in range(runs):
        run = new_run(plan, payload(number), None, DEFAULT_PRIORITY, None)
        yield SAME | start_row(run, now)


@contextmanager
def copies() -> Iterator[tuple[str, str]]:
    """Make empty tables with the columns and indexes of runs and messages, and drop them."""
    suffix = secrets.token_hex(4)
    names = (f"bench_{suffix}_run", f"bench_{suffix}_message")
    try:
        for model, name in zip((Run, Message), names, strict=True):
            copy_table(model._meta.db_table, name)
        yield names
    finally:
        with connection.cursor() as cursor:
            for name in names:
                cursor.execute(f"DROP TABLE IF EXISTS {name}")


def copy_table(table: str, name: str) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
            return
        found = cursor.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = %s AND sql IS NOT NULL"
            " AND type IN ('table', 'index') ORDER BY type DESC",
            [table],
        ).fetchall()
        for kind, own, sql in found:
            copied = sql.replace(own, f"{name}_{own}", 1) if kind == "index" else sql
            cursor.execute(re.sub(rf"\b{table}\b", name, copied))


def insert(table: str, columns: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Insert by the fastest plain statement: of arrays on PostgreSQL, of each row on SQLite."""
    into = f"INSERT INTO {table} ({', '.join(columns)})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            types = types_of(table)
            arrays = ", ".join(f"%s::{types[name]}[]" for name in columns)
            values = [[row[key] for row in rows] for key in columns.values()]
            cursor.execute(f"{into} SELECT * FROM unnest({arrays})", values)
            return
        marks = ", ".join(["%s"] * len(columns))
        values = [[row[key] for key in columns.values()] for row in rows]
        cursor.executemany(f"{into} VALUES ({marks})", values)


def types_of(table: str) -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s",
            [table],
        )
        return dict(cursor.fetchall())
